//! The networks that are measured, with their weights and data.

use anyhow::Result;
use net2net_core::io::Checkpoint;
use net2net_core::weights::{initialize, normal, stream};
use net2net_lab::data::ImageShape;
use net2net_lab::models::{Family, ModelSpec};

use super::{BATCHES, Task};

/// A network that is measured.
pub(super) struct Model {
    pub(super) name: &'static str,
    pub(super) images: ImageShape,
    classes: usize,
    family: Family,
    width: f64,
    depth: usize,
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

/// Those of a whole run; the residual one is ResNet-20 with projected shortcuts.
pub(super) const MODELS: [Model; 5] = [
    model("inception-28", GRAY_28, Family::Inception, 1.0, 2),
    model("inception-32", COLOR_32, Family::Inception, 1.0, 2),
    model("resnet-20", COLOR_32, Family::Residual, 1.0, 3),
    model("conv-net", COLOR_32, Family::ConvNet, 2.0, 2),
    model("mlp", GRAY_28, Family::Mlp, 4.0, 3),
];

/// Measured only when named: the published network at its size, with a step of seconds and some GiB
/// for each contestant.
pub(super) const INCEPTION_BN: Model = Model {
    classes: 1000,
    ..model("inception-bn-224", COLOR_224, Family::InceptionBn, 1.0, 1)
};

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
        family,
        width,
        depth,
    }
}

impl Model {
    /// Writes the checkpoint and the batches; returns the number of parameters.
    pub(super) fn prepare(&self, task: &Task) -> Result<usize> {
        let spec = ModelSpec {
            family: self.family,
            width: self.width,
            depth: self.depth,
        };
        let graph = spec.build(self.images, self.classes)?;
        let weights = initialize::<f32>(&graph, 1);
        let parameters = weights.iter().map(|(_, tensor)| tensor.data().len()).sum();
        std::fs::create_dir_all(&task.folder)?;
        Checkpoint::model(graph, weights).write(&task.checkpoint())?;

        let ImageShape {
            height,
            width,
            channels,
        } = self.images;
        let samples = BATCHES * task.batch;
        let mut random = stream(2, "images");
        let pixels = (0..samples * height * width * channels).map(|_| normal(&mut random) as f32);
        let images: Vec<u8> = pixels.flat_map(f32::to_le_bytes).collect();
        let labels = (0..samples as u32).map(|i| i.wrapping_mul(7919) % self.classes as u32);
        let labels: Vec<u8> = labels.flat_map(u32::to_le_bytes).collect();
        std::fs::write(task.images(), images)?;
        std::fs::write(task.labels(), labels)?;
        Ok(parameters)
    }
}
