//! The networks that are measured, with their weights and data.

use anyhow::{Result, bail};
use net2net_core::graph::Graph;
use net2net_core::io::Checkpoint;
use net2net_core::weights::{initialize, normal, stream};
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};
use net2net_onnx::Document;

use super::{BATCHES, Task, separable};

/// A network that is measured.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) images: ImageShape,
    classes: usize,
    network: Network,
    /// The batch where it is not the one that the caller wants.
    batch: Option<usize>,
}

enum Network {
    Spec(Family, f64, usize),
    Separable,
}

const GRAY_28: ImageShape = ImageShape {
    height: 28,
    width: 28,
    channels: 1,
};
const COLOR_32: ImageShape = ImageShape {
    height: 32,
    width: 32,
    channels: 3,
};

const COLOR_224: ImageShape = ImageShape {
    height: 224,
    width: 224,
    channels: 3,
};

/// Those of a whole run; the residual one is ResNet-20 with projected shortcuts. The last is the
/// published network at its size, in a batch of which several contestants fit in the memory.
pub(super) const MODELS: [Model; 7] = [
    model("inception-28", GRAY_28, Family::Inception, 1.0, 2),
    model("inception-32", COLOR_32, Family::Inception, 1.0, 2),
    model("resnet-20", COLOR_32, Family::Residual, 1.0, 3),
    model("conv-net", COLOR_32, Family::ConvNet, 2.0, 2),
    Model {
        network: Network::Separable,
        ..model("separable", COLOR_32, Family::ConvNet, 1.0, 1)
    },
    model("mlp", GRAY_28, Family::Mlp, 4.0, 3),
    Model {
        classes: 1000,
        batch: Some(8),
        ..model("inception-bn-224", COLOR_224, Family::InceptionBn, 1.0, 1)
    },
];

/// Whose proof is timed.
pub(super) const RESNET_56: Model = model("resnet-56", COLOR_32, Family::Residual, 1.0, 9);

const fn model(
    name: &'static str,
    images: ImageShape,
    family: Family,
    width: f64,
    depth: usize,
) -> Model {
    Model {
        name,
        images,
        classes: 10,
        network: Network::Spec(family, width, depth),
        batch: None,
    }
}

/// All, or the one of a name.
pub(super) fn chosen(name: Option<&str>) -> Result<Vec<&'static Model>> {
    let wanted = |model: &&Model| name.is_none_or(|name| model.name == name);
    let chosen: Vec<&Model> = MODELS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        bail!("no such network; there are {}", names.join(", "));
    }
    Ok(chosen)
}

impl Model {
    /// The batch to measure it at.
    pub(super) fn batch(&self, wanted: Option<usize>) -> usize {
        wanted.or(self.batch).unwrap_or(64)
    }

    /// The network.
    pub(super) fn graph(&self) -> Result<Graph> {
        Ok(match self.network {
            Network::Separable => separable::build(self.images, self.classes)?,
            Network::Spec(family, width, depth) => {
                let spec = ModelSpec {
                    family,
                    width,
                    depth,
                };
                spec.build(self.images, self.classes)?
            }
        })
    }

    /// Normal numbers for some images, and labels.
    pub(super) fn samples(&self, count: usize) -> (Vec<f32>, Vec<u32>) {
        samples(self.images, self.classes, count)
    }

    /// Writes the checkpoint, the model as ONNX and the batches; returns the number of parameters.
    pub(super) fn prepare(&self, task: &Task) -> Result<usize> {
        let graph = self.graph()?;
        let weights = initialize::<f32>(&graph, 1);
        let parameters = weights.iter().map(|(_, tensor)| tensor.data().len()).sum();
        std::fs::create_dir_all(&task.folder)?;
        Document::from_graph(&graph, &weights)?.save(&task.onnx())?;
        Checkpoint::model(graph, weights).write(&task.checkpoint())?;
        let (images, labels) = self.samples(BATCHES * task.batch);
        let images: Vec<u8> = images.into_iter().flat_map(f32::to_le_bytes).collect();
        let labels: Vec<u8> = labels.into_iter().flat_map(u32::to_le_bytes).collect();
        std::fs::write(task.images(), images)?;
        std::fs::write(task.labels(), labels)?;
        Ok(parameters)
    }
}

/// Normal numbers for some images, and labels.
pub(super) fn samples(shape: ImageShape, classes: usize, count: usize) -> (Vec<f32>, Vec<u32>) {
    let mut random = stream(2, "images");
    let pixels = count * shape.height * shape.width * shape.channels;
    let images = (0..pixels).map(|_| normal(&mut random) as f32).collect();
    let labels = (0..count as u32).map(|i| i.wrapping_mul(7919) % classes as u32);
    (images, labels.collect())
}
