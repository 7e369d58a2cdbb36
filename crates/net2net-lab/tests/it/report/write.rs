//! Files.

use std::fs;
use std::path::Path;

use net2net_lab::report::{ReportError, write_report};

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
