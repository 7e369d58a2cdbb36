//! Every family can be built, grown in every space and deepened after every layer, exactly.

use net2net_core::graph::Graph;
use net2net_core::plan::deepenable;
use net2net_core::request::{Request, request};
use net2net_core::verify::{TOLERANCE, compare};
use net2net_core::weights::initialize;
use net2net_kernels::Context;
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};

const FAMILIES: [Family; 6] = [
    Family::Mlp,
    Family::ConvNet,
    Family::Residual,
    Family::Inception,
    Family::InceptionBnSmall,
    Family::InceptionBnSmallPairs,
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
            growth.graph().to_string().parse::<Graph>().unwrap(),
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

fn inception_bn(family: Family, width: f64, depth: usize) -> Graph {
    let spec = ModelSpec {
        family,
        width,
        depth,
    };
    spec.build(shape(224, 3), 1000).unwrap()
}

#[test]
fn inception_bn_has_the_published_shapes() {
    let graph = inception_bn(Family::InceptionBn, 1.0, 1);
    // Figure 5 of Ioffe & Szegedy 2015, with 4c to 4e as their filters add up.
    for (name, channels, side) in [
        ("conv1.relu", 64, 112),
        ("pool1", 64, 56),
        ("conv2_reduce.relu", 64, 56),
        ("conv2.relu", 192, 56),
        ("pool2", 192, 28),
        ("inception_3a.concat", 256, 28),
        ("inception_3b.concat", 320, 28),
        ("inception_3c.concat", 576, 14),
        ("inception_4a.concat", 576, 14),
        ("inception_4b.concat", 576, 14),
        ("inception_4c.concat", 608, 14),
        ("inception_4d.concat", 608, 14),
        ("inception_4e.concat", 1056, 7),
        ("inception_5a.concat", 1024, 7),
        ("inception_5b.concat", 1024, 7),
        ("pool", 1024, 1),
    ] {
        let shape = graph.get(graph.find(name).unwrap()).shape.at(1);
        assert_eq!(shape, [1, channels, side, side], "{name}");
    }
    for (name, filter) in [
        ("conv1", [64, 3, 7, 7]),
        ("inception_3a.double_3x3_2", [96, 96, 3, 3]),
        ("inception_4d.double_3x3_reduce", [160, 608, 1, 1]),
        ("inception_4e.3x3", [192, 128, 3, 3]),
        ("inception_5b.pool_proj", [128, 1024, 1, 1]),
    ] {
        let id = graph.find(&format!("{name}.conv.weight")).unwrap();
        assert_eq!(graph.get(id).shape.at(1), filter, "{name}");
    }
}

/// Trained numbers, and the channels of all convolutions.
fn trained(graph: &Graph) -> (u64, u64) {
    let roles = graph.parameter_roles();
    let mut sum = (0, 0);
    for id in graph.parameters() {
        let shape = &graph.get(id).shape;
        if roles[&id].is_trained() {
            sum.0 += shape.elements(1) as u64;
        }
        if shape.rank() == 4 {
            sum.1 += shape.at(1)[0] as u64;
        }
    }
    sum
}

#[test]
fn inception_bn_has_the_published_number_of_parameters() {
    let (parameters, channels) = trained(&inception_bn(Family::InceptionBn, 1.0, 1));
    // The widespread Caffe and PyTorch ports have 11,295,240, with a bias in each convolution
    // that the batch normalisation after it makes superfluous.
    assert_eq!(parameters + channels, 11_295_240);
}

#[test]
fn inception_bn_has_the_variants_of_the_paper() {
    let count = |width, depth| {
        let graph = inception_bn(Family::InceptionBn, width, depth);
        trained(&graph).0 as f64
    };
    let layer = |graph: &Graph, name: &str| {
        let id = graph.find(&format!("{name}.conv.weight")).unwrap();
        graph.get(id).shape.at(1)
    };
    let teacher = inception_bn(Family::InceptionBn, 0.3f64.sqrt(), 1);
    assert_eq!(layer(&teacher, "conv2"), [192, 64, 3, 3], "the stem stays");
    assert_eq!(layer(&teacher, "inception_4a.3x3"), [53, 35, 3, 3]);
    // Of the layers within modules 30 % are left; the classifier has half, and the stem stays.
    assert!((0.3..0.36).contains(&(count(0.3f64.sqrt(), 1) / count(1.0, 1))));
    assert!((1.8..2.0).contains(&(count(2f64.sqrt(), 1) / count(1.0, 1))));
    let deeper = inception_bn(Family::InceptionBn, 1.0, 5);
    assert_eq!(
        layer(&deeper, "inception_3a.top_4_vertical"),
        [256, 256, 3, 1]
    );
    assert_eq!(
        layer(&deeper, "inception_5b.top_4_horizontal"),
        [1024, 1024, 1, 3]
    );
    let pairs = inception_bn(Family::InceptionBnPairs, 1.0, 1);
    assert_eq!(
        layer(&pairs, "inception_3a.double_3x3_1_vertical"),
        [96, 64, 3, 1]
    );
    assert_eq!(layer(&pairs, "inception_3c.double_3x3_2"), [96, 96, 3, 3]);
}
