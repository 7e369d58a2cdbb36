//! Every family can be built, grown in every space and deepened after every layer, exactly.

use net2net_core::plan::deepenable;
use net2net_core::request::{Request, request};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::initialize;
use net2net_kernels::Context;
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};

const FAMILIES: [Family; 4] = [
    Family::Mlp,
    Family::ConvNet,
    Family::Residual,
    Family::Inception,
];

fn shape(height: usize, channels: usize) -> ImageShape {
    ImageShape {
        height,
        width: height,
        channels,
    }
}

fn small(family: Family) -> ModelSpec {
    ModelSpec {
        family,
        width: 0.25,
        depth: 1,
    }
}

#[test]
fn every_family_grows_in_every_space_and_after_every_layer() {
    let mut cx = Context::<f64>::new(1).unwrap();
    for family in FAMILIES {
        let graph = small(family).build(shape(12, 3), 5).unwrap();
        let weights = initialize::<f64>(&graph, 7);
        let images: Vec<f64> = (0..6 * 12 * 12 * 3)
            .map(|i| f64::from(i * 37 % 101) / 50.0 - 1.0)
            .collect();
        let layers = deepenable(&graph).len();
        let wanted = Request {
            widen: Some(1.5),
            deepen: vec!["*".to_owned()],
            ..Request::default()
        };
        let (plan, growth) = request(&mut cx, &graph, &weights, &wanted, 3, 6, &[&images]).unwrap();
        assert!(
            plan.steps.len() > 2 * layers,
            "{family:?}: {:?}",
            plan.describe()
        );
        let grown = growth.weights(&weights).unwrap();
        let evidence = compare(
            &mut cx,
            (&graph, &weights),
            (growth.graph(), &grown),
            6,
            &[&images],
        )
        .unwrap();
        assert!(evidence[0].scale > 0.0);
        assert!(evidence[0].max_rel < TOLERANCE, "{family:?}: {evidence:?}");
        assert_eq!(
            growth
                .graph()
                .to_string()
                .parse::<net2net_core::graph::Graph>()
                .unwrap(),
            *growth.graph()
        );
    }
}

#[test]
fn width_and_depth_scale_the_parameters() {
    for family in FAMILIES {
        let count = |width, depth| {
            let spec = ModelSpec {
                family,
                width,
                depth,
            };
            spec.build(shape(28, 1), 10).unwrap().parameter_count()
        };
        assert!(10 * count(1.0, 1) > 19 * count(0.5, 1), "{family:?}");
        assert!(count(0.5, 2) > count(0.5, 1), "{family:?}");
    }
}

#[test]
fn settings_of_no_sense_are_refused() {
    let refused = |width, depth| {
        let spec = ModelSpec {
            family: Family::Mlp,
            width,
            depth,
        };
        spec.build(shape(28, 1), 10).unwrap_err().to_string()
    };
    assert!(refused(0.0, 1).contains("model width must be above 0"));
    assert!(refused(f64::NAN, 1).contains("model width"));
    assert!(refused(1.0, 0).contains("model depth must be between 1 and 64"));
}
