//! The report and its figures.

mod html;
mod made_up;
mod plot;
mod summary;
mod table;
mod verdict;
mod write;
