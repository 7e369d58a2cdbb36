//! From the measurements of a comparison to what people read: `summary.json`, tables, and one self-contained page.
//!
//! [`record`] is what the runner stores; [`summarize`] turns it into figures; [`speedup_table`] and [`verdict()`] put the
//! figures into words; [`plot`] draws the curves; [`write_report`] leaves the files.

pub(crate) mod escape;
pub mod events;
pub mod format;
pub mod html;
pub mod overview;
pub mod plot;
pub mod pool;
pub mod record;
pub mod significance;
pub mod speedup;
pub mod summary;
pub mod table;
pub mod verdict;
pub mod write;

pub use events::events;
pub use html::{render, render_together};
pub use overview::overview;
pub use pool::pool;
pub use record::{
    Architecture, Comparison, Evidence, GrowthRecord, Kind, LayerRow, Metric, OutputEvidence,
    RunRecord,
};
pub use summary::{Summary, summarize};
pub use table::{Table, difference_table, seed_table, speedup_table};
pub use verdict::{Verdict, verdict};
pub use write::{Export, ReportError, export, write_page, write_report, write_together};
