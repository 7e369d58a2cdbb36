//! Exact figures from handmade curves: an evaluation is 100 steps, 10 seconds and 1000 FLOPs.

use net2net_lab::report::speedup::{Arrival, Measure, Speedup, WithTeacher};
use net2net_lab::report::summary::{Race, StudentSummary};
use net2net_lab::report::{Kind, RunRecord, summarize};

use super::made_up::{comparison, diverged, run};

/// Teacher to 0.7 in 30 s, scratch to 0.8 in 40 s and past the teacher at 30 s.
fn base(seed: u64) -> Vec<RunRecord> {
    vec![
        run(Kind::Teacher, seed, &[0.1, 0.5, 0.6, 0.7]),
        run(Kind::Scratch, seed, &[0.1, 0.5, 0.6, 0.75, 0.8]),
    ]
}

fn net2net(seeds: &[u64], runs: Vec<RunRecord>) -> StudentSummary {
    let summary = summarize(&comparison(seeds, runs));
    summary.growths[0].student(Kind::Net2net).unwrap().clone()
}

fn one_seed(student: RunRecord) -> StudentSummary {
    let mut runs = base(0);
    runs.push(student);
    net2net(&[0], runs)
}

fn ratio(race: &Race) -> Option<f64> {
    race.median.seconds.ratio
}

#[test]
fn a_run_ends_where_its_last_evaluation_is() {
    let summary = summarize(&comparison(
        &[0],
        vec![run(Kind::Teacher, 0, &[0.1, 0.8, 0.7])],
    ));
    let teacher = &summary.runs[0];
    assert_eq!(
        (teacher.final_accuracy, teacher.best_accuracy),
        (Some(0.7), Some(0.8))
    );
    assert_eq!(
        (teacher.steps, teacher.seconds, teacher.flops),
        (200, 20.0, 2_000.0)
    );
    assert_eq!(teacher.final_loss, Some(1.3));
}

#[test]
fn reached_later() {
    let student = one_seed(run(Kind::Net2net, 0, &[0.65, 0.72, 0.81]));
    let race = &student.to_scratch.seeds[0];
    assert_eq!(
        (race.level, race.student, race.scratch),
        (Some(0.8), Arrival::Reached, Arrival::Reached)
    );
    let seconds = Speedup {
        student: Some(20.0),
        scratch: Some(40.0),
        ratio: Some(2.0),
        at_once: false,
        with_teacher: WithTeacher {
            student: Some(50.0),
            ratio: Some(0.8),
        },
    };
    assert_eq!(race.seconds, seconds);
    assert_eq!(
        (race.steps.student, race.steps.with_teacher.student),
        (Some(200.0), Some(500.0))
    );
    assert_eq!(
        (race.flops.scratch, race.flops.ratio),
        (Some(4_000.0), Some(2.0))
    );
    assert_eq!(
        student.to_scratch.median.seconds, seconds,
        "the median of one seed is that seed"
    );

    let race = &student.to_teacher.seeds[0];
    assert_eq!((race.level, race.seconds.ratio), (Some(0.7), Some(3.0)));
    assert_eq!(race.seconds.with_teacher.ratio, Some(0.75));
}

#[test]
fn at_once_has_no_ratio_but_has_one_with_the_teacher() {
    let student = one_seed(run(Kind::Net2net, 0, &[0.7, 0.6, 0.65]));
    let race = &student.to_teacher.seeds[0];
    assert_eq!(race.student, Arrival::AtOnce);
    assert_eq!(
        (
            race.seconds.student,
            race.seconds.ratio,
            race.seconds.at_once
        ),
        (Some(0.0), None, true)
    );
    assert_eq!(
        race.seconds.with_teacher,
        WithTeacher {
            student: Some(30.0),
            ratio: Some(1.0)
        }
    );
    assert!(student.to_teacher.median.seconds.at_once);
    assert_eq!(student.to_teacher.median.at_once, 1);
}

#[test]
fn never_reached_is_null() {
    let student = one_seed(run(Kind::Net2net, 0, &[0.65, 0.75, 0.79]));
    let race = &student.to_scratch.seeds[0];
    assert_eq!(race.student, Arrival::Never);
    assert_eq!(
        (race.seconds.student, race.seconds.scratch),
        (None, Some(40.0))
    );
    assert_eq!(
        (race.seconds.ratio, race.seconds.with_teacher),
        (None, WithTeacher::default())
    );
    assert_eq!(
        (
            student.to_scratch.median.seeds,
            student.to_scratch.median.reached
        ),
        (1, 0)
    );
}

#[test]
fn scratch_may_fall_short_of_the_teacher() {
    let runs = vec![
        run(Kind::Teacher, 0, &[0.1, 0.9]),
        run(Kind::Scratch, 0, &[0.1, 0.8]),
        run(Kind::Net2net, 0, &[0.8, 0.95]),
    ];
    let student = net2net(&[0], runs);
    let race = &student.to_teacher.seeds[0];
    assert_eq!(
        (race.student, race.scratch),
        (Arrival::Reached, Arrival::Never)
    );
    assert_eq!(
        (
            race.seconds.student,
            race.seconds.scratch,
            race.seconds.ratio
        ),
        (Some(10.0), None, None)
    );
    assert_eq!(student.to_teacher.median.scratch_reached, 0);
}

#[test]
fn missing_runs_leave_holes_and_no_zeros() {
    let runs = vec![run(Kind::Net2net, 0, &[0.65, 0.81])];
    let student = net2net(&[0], runs);
    let race = &student.to_scratch.seeds[0];
    assert_eq!(
        (race.level, race.student, race.scratch),
        (None, Arrival::Missing, Arrival::Missing)
    );
    assert_eq!(race.seconds, Speedup::default());
    assert_eq!(student.to_scratch.median.seeds, 0);

    let runs = vec![
        run(Kind::Scratch, 0, &[0.1, 0.8]),
        run(Kind::Net2net, 0, &[0.65, 0.81]),
    ];
    let race = net2net(&[0], runs).to_scratch;
    assert_eq!(race.seeds[0].seconds.ratio, Some(1.0));
    assert_eq!(
        race.median.seconds.with_teacher,
        WithTeacher::default(),
        "no teacher, no figure with it"
    );
}

#[test]
fn kinds_that_did_not_run_have_no_entry() {
    let summary = summarize(&comparison(&[0], base(0)));
    assert!(summary.growths[0].students.is_empty());
}

#[test]
fn a_diverged_run_sets_no_level() {
    let runs = vec![
        run(Kind::Teacher, 0, &[0.1, 0.7]),
        diverged(run(Kind::Scratch, 0, &[0.1, 0.5, f64::NAN])),
        run(Kind::Net2net, 0, &[0.7, 0.8]),
    ];
    let summary = summarize(&comparison(&[0], runs.clone()));
    assert_eq!(
        (
            summary.runs[1].final_accuracy,
            summary.runs[1].best_accuracy
        ),
        (None, Some(0.5))
    );
    assert_eq!(summary.runs[1].final_loss, None);
    let student = net2net(&[0], runs);
    assert_eq!(student.to_scratch.seeds[0].student, Arrival::Missing);
    assert_eq!(student.to_teacher.seeds[0].scratch, Arrival::Never);
}

#[test]
fn a_diverged_student_has_what_it_reached_before() {
    let student = one_seed(diverged(run(Kind::Net2net, 0, &[0.7, 0.82, 0.1])));
    assert_eq!(ratio(&student.to_scratch), Some(4.0));
}

#[test]
fn the_median_of_three_seeds_counts_the_one_that_never_arrived() {
    let mut runs: Vec<RunRecord> = [0, 1, 2].into_iter().flat_map(base).collect();
    runs.push(run(Kind::Net2net, 0, &[0.7, 0.8])); // 4 times faster
    runs.push(run(Kind::Net2net, 1, &[0.7, 0.7, 0.8])); // 2 times
    runs.push(run(Kind::Net2net, 2, &[0.7, 0.7, 0.7])); // never
    let median = net2net(&[0, 1, 2], runs).to_scratch.median;
    assert_eq!(
        (median.seeds, median.reached, median.scratch_reached),
        (3, 2, 3)
    );
    assert_eq!(
        (median.seconds.ratio, median.seconds.student),
        (Some(2.0), Some(20.0))
    );
    assert_eq!(median.seconds.with_teacher.ratio, Some(0.8));
    assert_eq!(*median.speedup(Measure::Seconds), median.seconds);
}

#[test]
fn the_median_of_two_seeds() {
    let race = |a: &[f64], b: &[f64]| {
        let mut runs: Vec<RunRecord> = [0, 1].into_iter().flat_map(base).collect();
        runs.extend([run(Kind::Net2net, 0, a), run(Kind::Net2net, 1, b)]);
        net2net(&[0, 1], runs).to_scratch
    };
    assert_eq!(
        ratio(&race(&[0.7, 0.8], &[0.7, 0.7, 0.8])),
        Some(3.0),
        "the mean of 4 and 2"
    );
    assert_eq!(
        ratio(&race(&[0.7, 0.8], &[0.7, 0.7])),
        None,
        "never is the worse of the two"
    );
    assert_eq!(
        ratio(&race(&[0.9, 0.9], &[0.7, 0.8])),
        Some(4.0),
        "at once is the better of the two"
    );
    assert_eq!(ratio(&race(&[0.9, 0.9], &[0.9, 0.8])), None);
    assert!(race(&[0.9, 0.9], &[0.9, 0.8]).median.seconds.at_once);
}

#[test]
fn the_continued_teacher_races_in_every_growth() {
    let mut runs = base(0);
    runs.push(run(Kind::Continued, 0, &[0.7, 0.8]));
    let summary = summarize(&comparison(&[0], runs));
    assert_eq!(
        ratio(
            &summary.growths[0]
                .student(Kind::Continued)
                .unwrap()
                .to_scratch
        ),
        Some(4.0)
    );
}

#[test]
fn json_has_the_documented_shape() {
    let mut runs = base(0);
    runs.push(run(Kind::Net2net, 0, &[0.7, 0.8]));
    let json = serde_json::to_value(summarize(&comparison(&[0], runs))).unwrap();
    let race = &json["growths"][0]["students"][0];
    assert_eq!(race["kind"], "net2net");
    let expected = serde_json::json!({
        "student": 0.0, "scratch": 30.0, "ratio": null, "at_once": true,
        "with_teacher": { "student": 30.0, "ratio": 1.0 },
    });
    assert_eq!(race["to_teacher"]["seeds"][0]["seconds"], expected);
    assert_eq!(race["to_teacher"]["median"]["seconds"], expected);
}

#[test]
fn a_comparison_with_a_diverged_run_survives_storage() {
    let run = diverged(run(Kind::Net2net, 0, &[0.7, f64::NAN]));
    let text = serde_json::to_string(&run).unwrap();
    let back: RunRecord = serde_json::from_str(&text).unwrap();
    assert!(
        back.metrics[1].validation_accuracy.is_nan() && back.metrics[1].validation_loss.is_nan()
    );
    assert_eq!(back.metrics[0], run.metrics[0]);
}

#[test]
fn kinds_have_one_name_in_files() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.slug());
    }
}
