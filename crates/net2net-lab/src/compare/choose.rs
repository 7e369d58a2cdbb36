//! A comparison for images that nobody has written a spec for.
//!
//! The choice depends on the images alone, never on the machine or the clock, so that everybody gets
//! the same spec for the same folder.

use std::path::Path;

use super::error::CompareError;
use super::spec::{DataSpec, Spec};
use crate::data::{Augmentation, ResizedCrop, SourceOptions};
use crate::models::{Family, ModelSpec};

/// The side to which large images are brought: 224 costs twelve times as much.
const LARGE_SIDE: usize = 64;
/// The multiplications and additions, each counted as one, that the whole comparison may take.
const OPERATIONS: f64 = 1e14;
/// Teacher's epochs at least and at most.
const EPOCHS: (f64, f64) = (3.0, 40.0);
/// Steps of the teacher at least: small sets get more epochs.
const STEPS: f64 = 400.0;
/// Batches of this many images, unless there are few of them.
const BATCH: usize = 64;

/// A spec for a folder of images, and why it is as it is.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The spec; its folder is the one that was given.
    pub spec: Spec,
    /// A sentence for each decision.
    pub reasons: Vec<String>,
}

/// Looks at a folder or an archive of images and chooses sizes, a teacher, and a schedule.
///
/// # Errors
/// Those of opening it ([`crate::data::open`]), and [`CompareError::Model`] if its images are too small
/// for a network.
pub fn choose(folder: &Path, read: &SourceOptions) -> Result<Chosen, CompareError> {
    let mut spec = Spec::embedded()?;
    let mut reasons = Vec::new();
    spec.data = DataSpec {
        folder: Some(folder.to_owned()),
        read: read.clone(),
        ..DataSpec::default()
    };
    let mut opened = spec.data.open(0)?;
    let shape = opened.splits.train.shape();
    let (train, validation) = (opened.splits.train.len(), opened.splits.validation.len());
    reasons.push(format!(
        "found {}: {train} training and {validation} validation images, {} classes",
        opened.kind,
        opened.splits.train.classes().len()
    ));
    let large = opened.splits.train.is_in_files();
    if read.side.is_none() && large && shape.height > LARGE_SIDE {
        spec.data.read.side = Some(LARGE_SIDE);
        opened = spec.data.open(0)?;
        reasons.push(format!(
            "images at {LARGE_SIDE}×{LARGE_SIDE}: at {}×{} everything takes about {:.0} times as long; \
             set `side` in [data.read] for another size",
            shape.height,
            shape.width,
            ((shape.height * shape.width) as f64 / (LARGE_SIDE * LARGE_SIDE) as f64),
        ));
    } else {
        reasons.push(format!("images at {shape}: {}", opened.shape_reason));
    }
    let set = &opened.splits.train;
    spec.title = format!("Net2Net on {}", set.name().trim_end_matches("/train"));
    let color = set.shape().channels == 3;
    spec.teacher.model = ModelSpec {
        width: if color { 0.5 } else { 0.25 },
        ..spec.teacher.model
    };
    reasons.push(format!(
        "teacher: {} at width {}, which is small enough to leave its students something to win",
        match spec.teacher.model.family {
            Family::Inception => "a small Inception-BN".to_owned(),
            other => format!("{other:?}"),
        },
        spec.teacher.model.width
    ));
    let augmentation = augmentation(large, color, set.shape().height, &mut reasons);
    let batch = batch(train);
    let operations = {
        let graph = spec.teacher.model.build(set.shape(), set.classes().len())?;
        graph.flops() as f64
    };
    let scale = schedule(&mut spec, train, batch, operations, &mut reasons);
    let students = [&mut spec.teacher.recipe, &mut spec.student.recipe];
    for recipe in students.into_iter().chain(&mut spec.student.scratch) {
        recipe.epochs *= scale;
        recipe.warmup_epochs *= scale;
        recipe.batch = batch;
        recipe.augmentation = augmentation;
        // Long runs need fewer looks an epoch.
        if scale > 2.0 {
            recipe.evaluations_per_epoch = recipe.evaluations_per_epoch.min(2);
        }
    }
    spec.check()?;
    Ok(Chosen { spec, reasons })
}

/// What is done to training images.
fn augmentation(large: bool, color: bool, side: usize, reasons: &mut Vec<String>) -> Augmentation {
    let mut augmentation = Augmentation::default();
    if large {
        augmentation.resized_crop = Some(ResizedCrop {
            min_area: 0.35,
            ..ResizedCrop::default()
        });
        reasons
            .push("random crops of 35 to 100 % of the area, at a fresh size each time".to_owned());
    } else {
        augmentation.crop_padding = (side / 8).max(1);
        reasons.push(format!(
            "random crops with {} pixels of padding",
            augmentation.crop_padding
        ));
    }
    augmentation.flip = color;
    reasons.push(if color {
        "half of the images mirrored; set `flip = false` if left and right matter".to_owned()
    } else {
        "no mirroring: gray images are often of characters; set `flip = true` if yours are not"
            .to_owned()
    });
    augmentation
}

/// A power of two that leaves an epoch at least ten steps, 8 at the least.
fn batch(images: usize) -> usize {
    let mut batch = BATCH;
    while batch > 8 && images / batch < 10 {
        batch /= 2;
    }
    batch
}

/// By what the epochs of the embedded spec are multiplied so that everything fits the operations.
fn schedule(
    spec: &mut Spec,
    images: usize,
    batch: usize,
    operations: f64,
    reasons: &mut Vec<String>,
) -> f64 {
    let teacher = spec.teacher.recipe.epochs;
    let student = spec.student.recipe.epochs;
    let scratch = spec
        .student
        .scratch
        .as_ref()
        .map_or(student, |recipe| recipe.epochs);
    // A student costs about twice its teacher; of each growth there are Net2Net, the random one and the
    // re-initialised one, and scratch. Forward and backward are three passes.
    let growths = spec.growth.len() as f64;
    let epochs = teacher + student + growths * 2.0 * (3.0 * student + scratch);
    let cost = |scale: f64| scale * epochs * images as f64 * 3.0 * operations;
    let afforded = OPERATIONS / cost(1.0);
    let steps_an_epoch = (images as f64 / batch as f64).floor().max(1.0);
    let wanted = STEPS / (steps_an_epoch * teacher);
    let least = EPOCHS.0 / teacher;
    let scale = afforded.clamp(least, (EPOCHS.1 / teacher).max(least));
    let scale = scale.max(wanted.min(EPOCHS.1 / teacher));
    // A multiple of a tenth of an epoch is easier to read.
    let scale = (scale * teacher * 10.0).round() / 10.0 / teacher;
    reasons.push(format!(
        "{:.1} epochs for the teacher, {:.1} for students and {:.1} for scratch, batches of {batch}: \
         about {:.1e} operations in all for a seed",
        teacher * scale,
        student * scale,
        scratch * scale,
        cost(scale),
    ));
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_with_the_images() {
        assert_eq!([50, 100, 200, 640, 10_000].map(batch), [8, 8, 16, 64, 64]);
    }

    #[test]
    fn more_images_and_larger_networks_get_fewer_epochs_within_bounds() {
        let scale = |images, operations| {
            let mut spec = Spec::embedded().unwrap();
            let teacher = spec.teacher.recipe.epochs;
            teacher * schedule(&mut spec, images, 64, operations, &mut Vec::new())
        };
        assert_eq!(scale(1_000_000, 1e9), EPOCHS.0);
        assert_eq!(scale(640, 1e5), EPOCHS.1);
        assert!(scale(20_000, 1e7) > scale(20_000, 2e7));
    }
}
