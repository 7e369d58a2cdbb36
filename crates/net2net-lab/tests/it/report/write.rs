//! Files.

use std::fs;
use std::path::Path;

use net2net_lab::report::events::{EVENTS_FILE, Event};
use net2net_lab::report::{
    Export, Kind, ReportError, export, summarize, write_report, write_together,
};
use prost::Message;

use super::made_up::whole_report;

#[test]
fn both_files_are_written_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("new/folder");
    let summary = write_report(&dir, &whole_report()).unwrap();
    write_report(&dir, &whole_report()).unwrap();
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["report.html", "summary.json"]);
    let json = fs::read_to_string(dir.join("summary.json")).unwrap();
    assert!(json.ends_with("}\n"));
    assert_eq!(
        json.trim_end(),
        serde_json::to_string_pretty(&summary).unwrap()
    );
}

#[test]
fn a_failure_names_the_file_and_leaves_no_temporary() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("report.html")).unwrap();
    let error = write_report(dir.path(), &whole_report()).unwrap_err();
    assert!(matches!(error, ReportError::Io { ref path, .. } if path.ends_with("report.html")));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// Leaves the made-up page where a person can look at it.
#[test]
fn the_page_to_look_at() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    write_report(&dir, &whole_report()).unwrap();
    assert!(dir.join("report.html").exists());
}

#[test]
fn every_plot_and_every_runs_events_can_be_had_as_files() {
    let dir = tempfile::tempdir().unwrap();
    let report = whole_report();
    let plots = export(&dir.path().join("plots"), &report, Export::Svg).unwrap();
    assert_eq!(plots.len(), 4 * report.growths.len());
    assert!(plots.iter().all(|path| path.exists()));
    assert!(dir.path().join("plots/wider-accuracy-seconds.svg").exists());
    let events = export(&dir.path().join("logs"), &report, Export::TensorBoard).unwrap();
    assert_eq!(events.len(), report.runs.len());
    let run = report.run("wider", Kind::Net2net, report.seeds[0]).unwrap();
    let file = fs::read(dir.path().join("logs").join(&run.id).join(EVENTS_FILE)).unwrap();
    let read = records(&file);
    assert_eq!(read.len(), 1 + run.metrics.len());
    assert_eq!(read[0].file_version.as_deref(), Some("brain.Event:2"));
    for (event, metric) in read[1..].iter().zip(&run.metrics) {
        assert_eq!(event.step, metric.step as i64);
        let values = &event.summary.as_ref().unwrap().value;
        let accuracy = values
            .iter()
            .find(|v| v.tag == "accuracy/validation")
            .unwrap();
        assert_eq!(accuracy.simple_value, metric.validation_accuracy as f32);
    }
}

/// The events of a file whose lengths and checksums are right.
fn records(mut file: &[u8]) -> Vec<Event> {
    let checksum = |bytes: &[u8]| {
        crc32c::crc32c(bytes)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
    };
    let mut events = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(file[8..12], checksum(&file[..8]).to_le_bytes());
        let bytes = &file[12..12 + length];
        assert_eq!(
            file[12 + length..16 + length],
            checksum(bytes).to_le_bytes()
        );
        events.push(Event::decode(bytes).unwrap());
        file = &file[16 + length..];
    }
    events
}

#[test]
fn several_comparisons_make_one_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("together.html");
    let report = whole_report();
    let summary = summarize(&report);
    let one = ("runs/a", "runs/a/report.html", &report, &summary);
    let other = ("runs/<b>", "runs/b/report.html", &report, &summary);
    write_together(&path, &[one, other]).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("2 comparisons side by side"));
    assert!(
        page.contains("<a href=\"runs/a/report.html\">")
            && page.contains("runs/a/report.html#wider")
    );
    assert!(page.contains("runs/&lt;b&gt;: wider") && !page.contains("<b>"));
}
