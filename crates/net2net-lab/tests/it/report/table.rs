//! Cells as people read them.

use net2net_lab::report::speedup::Measure;
use net2net_lab::report::{Kind, RunRecord, Summary, seed_table, speedup_table, summarize};

use super::made_up::{comparison, diverged, run};

fn summary(seeds: &[u64], runs: Vec<RunRecord>) -> Summary {
    summarize(&comparison(seeds, runs))
}

#[test]
fn one_seed() {
    let summary = summary(
        &[0],
        vec![
            run(Kind::Teacher, 0, &[0.1, 0.5, 0.6, 0.7]),
            run(Kind::Scratch, 0, &[0.1, 0.5, 0.6, 0.75, 0.8]),
            run(Kind::Net2net, 0, &[0.7, 0.82, 0.81]),
            run(Kind::Continued, 0, &[0.7, 0.72, 0.71]),
        ],
    );
    let table = speedup_table(&summary, &summary.growths[0], Measure::Seconds);
    assert_eq!(table.strong, Some(1));
    assert_eq!(
        table.rows,
        [
            ["Teacher", "70.0 %", "—", "—", "—", "—", "70.0 %", "30.0 s"],
            [
                "Net2Net", "81.0 %", "4.0×", "1.0×", "at once", "1.0×", "82.0 %", "20.0 s"
            ],
            [
                "From scratch",
                "80.0 %",
                "1.0×",
                "—",
                "1.0×",
                "—",
                "80.0 %",
                "40.0 s"
            ],
            [
                "Teacher continued",
                "71.0 %",
                "never",
                "—",
                "at once",
                "1.0×",
                "72.0 %",
                "20.0 s"
            ],
        ]
    );
    assert!(table.rows.iter().all(|row| row.len() == table.header.len()));
    let flops = speedup_table(&summary, &summary.growths[0], Measure::Flops);
    assert_eq!(flops.rows[1][7], "2.00 k");
}

#[test]
fn several_seeds_say_how_many_got_there() {
    let mut runs = Vec::new();
    for seed in [0, 1, 2] {
        runs.push(run(Kind::Scratch, seed, &[0.1, 0.5, 0.8]));
    }
    runs.push(run(Kind::Net2net, 0, &[0.7, 0.80]));
    runs.push(run(Kind::Net2net, 1, &[0.7, 0.82]));
    runs.push(diverged(run(Kind::Net2net, 2, &[0.7, f64::NAN])));
    let summary = summary(&[0, 1, 2], runs);
    let table = speedup_table(&summary, &summary.growths[0], Measure::Seconds);
    assert_eq!(table.rows[0][1], "81.0 ± 1.4 % (1 of 3 diverged)");
    assert_eq!(table.rows[0][2], "2.0× (2 of 3 seeds)");
    assert_eq!(table.rows[1][4], "—", "no teacher, no level");
    let seeds = seed_table(&summary.growths[0]);
    assert_eq!(
        seeds.rows[2],
        ["Net2Net", "2", "80.0 %", "never", "20.0 s", "—", "—"]
    );
}

#[test]
fn scratch_that_falls_short_of_the_teacher_says_so() {
    let summary = summary(
        &[0],
        vec![
            run(Kind::Teacher, 0, &[0.1, 0.9]),
            run(Kind::Scratch, 0, &[0.1, 0.8]),
            run(Kind::Net2net, 0, &[0.85, 0.95]),
        ],
    );
    let table = speedup_table(&summary, &summary.growths[0], Measure::Seconds);
    assert_eq!(table.rows[1][4], "scratch never");
    assert_eq!(table.rows[2][4], "never");
}
