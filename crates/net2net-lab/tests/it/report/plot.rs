//! Drawings: what must and must not be in them. How they look, only eyes can test.

use net2net_lab::report::Kind;
use net2net_lab::report::plot::{Figure, plot, png, standalone};

use super::made_up::{comparison, diverged, run, whole_report};

#[test]
fn every_kind_has_a_line_and_a_band_and_no_marker_colour_is_left() {
    let report = whole_report();
    for figure in Figure::ALL
        .into_iter()
        .filter(|f| *f != Figure::CopiesSeconds)
    {
        let svg = plot(&report, "wider", figure).unwrap().unwrap().svg;
        for kind in [
            Kind::Net2net,
            Kind::Scratch,
            Kind::Continued,
            Kind::RandomPad,
            Kind::Reinit,
        ] {
            for class in ["line", "band"] {
                assert!(
                    svg.contains(&format!("class=\"{class} {}\"", kind.slug())),
                    "{kind:?} in {figure:?}"
                );
            }
        }
        assert!(!svg.contains("#FB01"), "{figure:?}");
        assert!(
            svg.starts_with("<svg class=\"plot\"") && svg.contains("role=\"img\" aria-label=\"")
        );
    }
}

#[test]
fn a_cut_axis_says_so() {
    let plot = plot(&whole_report(), "wider", Figure::AccuracySeconds)
        .unwrap()
        .unwrap();
    assert!(
        plot.note.starts_with("The axis is cut at "),
        "{}",
        plot.note
    );
}

#[test]
fn a_diverged_seed_is_left_out_and_a_diverged_way_is_crossed() {
    let sound = run(Kind::Net2net, 0, &[0.7, 0.8]);
    let lost = diverged(run(Kind::Net2net, 1, &[0.7, f64::NAN]));
    let both = comparison(&[0, 1], vec![sound, lost.clone()]);
    let drawn = plot(&both, "wider", Figure::AccuracySeconds)
        .unwrap()
        .unwrap();
    assert!(drawn.svg.contains("ends at 80.0 %") && drawn.note.is_empty());
    let drawn = plot(
        &comparison(&[1], vec![lost]),
        "wider",
        Figure::AccuracySeconds,
    )
    .unwrap()
    .unwrap();
    assert_eq!(
        drawn.note,
        "A cross marks where a way diverged in every seed."
    );
}

#[test]
fn nothing_to_draw_is_no_drawing() {
    let empty = comparison(&[0], vec![run(Kind::Net2net, 0, &[])]);
    assert_eq!(plot(&empty, "wider", Figure::LossSeconds).unwrap(), None);
}

#[test]
fn one_point_and_flat_lines_can_be_drawn() {
    for accuracies in [&[0.5][..], &[0.5, 0.5], &[0.0, 0.0], &[1.0, 1.0]] {
        let flat = comparison(&[0], vec![run(Kind::Net2net, 0, accuracies)]);
        for figure in Figure::ALL {
            let drawn = figure != Figure::CopiesSeconds;
            assert_eq!(plot(&flat, "wider", figure).unwrap().is_some(), drawn);
        }
    }
}

#[test]
fn the_distance_of_copies_is_drawn_for_those_that_have_some() {
    let mut grown = run(Kind::Net2net, 0, &[0.7, 0.8, 0.9]);
    for (metric, apart) in grown.metrics.iter_mut().zip([0.0, 0.3, 0.5]) {
        metric.apart = Some(apart);
    }
    let both = comparison(&[0], vec![grown, run(Kind::Scratch, 0, &[0.1, 0.5, 0.8])]);
    let svg = plot(&both, "wider", Figure::CopiesSeconds)
        .unwrap()
        .unwrap()
        .svg;
    assert!(svg.contains("line net2net") && !svg.contains("line scratch"));
    assert!(svg.contains("Net2Net ends at 0.500"));
}

#[test]
fn a_drawing_stands_by_itself() {
    let report = whole_report();
    let svg = standalone(&report, "wider", Figure::AccuracySeconds)
        .unwrap()
        .unwrap();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    assert!(!svg.contains("class=") && !svg.contains("#FB01"));
    for kind in [Kind::Net2net, Kind::Scratch, Kind::Reinit] {
        assert!(
            svg.contains(&format!(">{}</text>", kind.label())),
            "{kind:?}"
        );
    }
    let pixels = png(&svg).unwrap();
    assert_eq!(pixels[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(pixels[16..20], 1120u32.to_be_bytes());
    assert!(pixels.len() > 10_000, "{} bytes", pixels.len());
    assert!(png("no drawing").is_err());
}
