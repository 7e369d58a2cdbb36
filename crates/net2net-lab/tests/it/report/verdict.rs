//! The sentences, above all those that are no praise.

use net2net_lab::report::verdict::Tone;
use net2net_lab::report::{Kind, RunRecord, Verdict, summarize, verdict};

use super::made_up::{comparison, diverged, run};

fn judge(students: Vec<RunRecord>) -> Verdict {
    let mut runs = vec![
        run(Kind::Teacher, 0, &[0.1, 0.5, 0.6, 0.7]),
        run(Kind::Scratch, 0, &[0.1, 0.5, 0.6, 0.75, 0.8]),
    ];
    runs.extend(students);
    let summary = summarize(&comparison(&[0], runs));
    verdict(&summary, &summary.growths[0])
}

#[test]
fn fastest() {
    let verdict = judge(vec![
        run(Kind::Net2net, 0, &[0.7, 0.8]),
        run(Kind::Continued, 0, &[0.7, 0.72]),
        run(Kind::RandomPad, 0, &[0.4, 0.7, 0.8]),
    ]);
    assert_eq!(
        (verdict.tone, verdict.figure.as_str()),
        (Tone::Fastest, "4.0×")
    );
    assert_eq!(
        verdict.sentence,
        "Net2Net reached scratch's final accuracy 4.0× faster than scratch itself (one seed; 1.0× with the teacher's own \
         training counted) and was the fastest way, ahead of random padding (2.0×); the continued teacher did not get there."
    );
}

#[test]
fn beaten_by_the_continued_teacher() {
    let verdict = judge(vec![
        run(Kind::Net2net, 0, &[0.7, 0.7, 0.8]),
        run(Kind::Continued, 0, &[0.7, 0.8]),
        run(Kind::Reinit, 0, &[0.4, 0.7, 0.8]),
    ]);
    assert_eq!(verdict.tone, Tone::Beaten);
    assert_eq!(
        verdict.sentence,
        "Net2Net reached scratch's final accuracy 2.0× faster than scratch itself (one seed; 0.80×, so slower, with the \
         teacher's own training counted), but the continued teacher (4.0×) was faster; it was no faster than \
         re-initialisation (2.0×)."
    );
}

#[test]
fn slower_than_scratch() {
    let verdict = judge(vec![run(Kind::Net2net, 0, &[0.7, 0.7, 0.7, 0.7, 0.7, 0.8])]);
    assert_eq!(
        (verdict.tone, verdict.figure.as_str()),
        (Tone::Lost, "0.80×")
    );
    assert!(verdict.sentence.starts_with(
        "Net2Net did not beat scratch: it took 1.2× as long to scratch's final accuracy (one seed;"
    ), "{}", verdict.sentence);
    assert!(
        verdict
            .sentence
            .ends_with("; no way was faster than scratch."),
        "{}",
        verdict.sentence
    );
}

#[test]
fn never_arrived_and_diverged() {
    let verdict = judge(vec![
        diverged(run(Kind::Net2net, 0, &[0.7, 0.1])),
        run(Kind::RandomPad, 0, &[0.4, 0.8]),
    ]);
    assert_eq!(
        (verdict.tone, verdict.figure.as_str()),
        (Tone::Lost, "never")
    );
    assert_eq!(
        verdict.sentence,
        "Net2Net did not beat scratch: it never reached scratch's final accuracy (one seed), but random padding (4.0×) was \
         faster. Net2Net diverged in 1 of 1 seed."
    );
}

#[test]
fn at_once() {
    let verdict = judge(vec![
        run(Kind::Net2net, 0, &[0.8, 0.8]),
        run(Kind::Continued, 0, &[0.8, 0.8]),
    ]);
    assert_eq!(
        (verdict.tone, verdict.figure.as_str()),
        (Tone::Beaten, "at once")
    );
    assert!(
        verdict
            .sentence
            .ends_with(", but it was no faster than the continued teacher (at once)."),
        "{}",
        verdict.sentence
    );
}

#[test]
fn nothing_to_compare() {
    assert_eq!(judge(Vec::new()).tone, Tone::Unknown);
    let runs = vec![run(Kind::Net2net, 0, &[0.7, 0.8])];
    let summary = summarize(&comparison(&[0], runs));
    assert_eq!(verdict(&summary, &summary.growths[0]).tone, Tone::Unknown);
}
