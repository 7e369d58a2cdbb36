//! Real checkpoints, if `NET2NET_CHECKPOINTS` names the folder that they lie in.

use std::path::{Path, PathBuf};

use net2net_core::request::Request;

use super::growing::{self, both, deeper, wider};

fn checkpoint(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("NET2NET_CHECKPOINTS") else {
        eprintln!("NET2NET_CHECKPOINTS names no folder, so {name} was not grown");
        return None;
    };
    Some(Path::new(&folder).join(name))
}

fn grow(name: &str, ways: &[Request]) {
    let Some(path) = checkpoint(name) else { return };
    for wanted in ways {
        growing::grow(&path, wanted);
    }
}

#[test]
fn a_digit_classifier_grows() {
    grow("burn-mnist/mnist.onnx", &[wider(), deeper(), both()]);
}

#[test]
fn a_residual_network_grows() {
    grow("resnet-cifar10/resnet20.onnx", &[wider(), deeper(), both()]);
}

#[test]
fn a_deep_residual_network_grows() {
    grow("resnet-cifar10/resnet56.onnx", &[wider()]);
}

#[test]
fn a_residual_network_of_the_other_exporter_grows() {
    grow(
        "resnet-cifar10/resnet20-dynamo.onnx",
        &[wider(), deeper(), both()],
    );
}

#[test]
fn a_transformer_grows() {
    grow("gpt-nano-sort/gpt-nano-sort.onnx", &[wider()]);
}
