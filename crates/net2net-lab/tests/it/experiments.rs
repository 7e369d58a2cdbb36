//! The specs in `experiments/` can be read, and what they ask for can grow.

use std::fs;
use std::path::{Path, PathBuf};

use net2net_core::graph::Graph;
use net2net_core::request::request;
use net2net_core::weights::initialize;
use net2net_kernels::Context;
use net2net_lab::compare::Spec;
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};

const CLASSES: usize = 10;

/// Channels do not depend on the size of images, and small ones are fast.
const IMAGES: ImageShape = ImageShape {
    height: 32,
    width: 32,
    channels: 3,
};

fn specs(folder: &str) -> Vec<(PathBuf, Spec)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../experiments")
        .join(folder);
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    // The images may lie there too.
    let is_spec = |path: &PathBuf| path.extension().is_some_and(|end| end == "toml");
    let mut paths: Vec<PathBuf> = entries.filter(is_spec).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let spec =
            Spec::from_toml(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, spec)
    };
    paths.into_iter().map(read).collect()
}

/// The students of a spec, by the name of their growth.
fn students(spec: &Spec) -> Vec<(String, Graph)> {
    let teacher = spec.teacher.model.build(IMAGES, CLASSES).unwrap();
    let weights = initialize::<f32>(&teacher, 1);
    let images: Vec<f32> = (0..32 * 32 * 3)
        .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
        .collect();
    let mut cx = Context::new(1).unwrap();
    let grown = spec.growth.iter().map(|growth| {
        let (_, grown) = request(&mut cx, &teacher, &weights, &growth.grow, 0, 1, &[&images])
            .unwrap_or_else(|error| panic!("{}: {error}", growth.name));
        (growth.name.clone(), grown.graph().clone())
    });
    grown.collect()
}

#[test]
fn every_spec_can_be_read_and_grows() {
    let mut all = 0;
    for folder in ["net2net-2016", "cifar", "sweeps"] {
        for (path, spec) in specs(folder) {
            let before = spec
                .teacher
                .model
                .build(IMAGES, CLASSES)
                .unwrap()
                .parameter_count();
            for (name, graph) in students(&spec) {
                assert!(
                    graph.parameter_count() > before,
                    "{}: {name}",
                    path.display()
                );
            }
            all += 1;
        }
    }
    assert!(all >= 13, "{all} specs");
}

#[test]
fn the_papers_wider_student_is_the_standard_network() {
    let spec = specs("net2net-2016")
        .into_iter()
        .find(|(path, _)| path.ends_with("wider.toml"));
    let (_, student) = students(&spec.unwrap().1).remove(0);
    let standard = ModelSpec {
        family: Family::InceptionBn,
        width: 1.0,
        depth: 1,
    };
    let standard = standard.build(IMAGES, CLASSES).unwrap();
    for id in standard.parameters() {
        let value = standard.get(id);
        let grown = student.get(student.find(&value.name).unwrap());
        assert_eq!(grown.shape, value.shape, "{}", value.name);
    }
}

#[test]
fn exploring_adds_four_pairs_on_top_of_every_module() {
    let spec = specs("net2net-2016")
        .into_iter()
        .find(|(path, _)| path.ends_with("explore.toml"));
    let students = students(&spec.unwrap().1);
    let standard = |width, depth| {
        let spec = ModelSpec {
            family: Family::InceptionBn,
            width,
            depth,
        };
        spec.build(IMAGES, CLASSES).unwrap()
    };
    let sizes = |graph: &Graph| {
        let mut sizes: Vec<Vec<usize>> = graph
            .parameters()
            .map(|id| graph.get(id).shape.at(1))
            .collect();
        sizes.sort();
        sizes
    };
    let deeper = students.iter().find(|(name, _)| name == "deeper").unwrap();
    assert_eq!(sizes(&deeper.1), sizes(&standard(1.0, 5)));
    let wider = students.iter().find(|(name, _)| name == "wider").unwrap();
    assert_eq!(sizes(&wider.1), sizes(&standard(2f64.sqrt(), 1)));
}
