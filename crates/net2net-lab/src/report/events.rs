//! TensorBoard's event files: one folder a run, so that people can look with the tool they have.
//!
//! A file is a sequence of records: the length (64 bits), its masked CRC-32C, the bytes of an `Event`
//! message of TensorFlow's `event.proto`, and their masked CRC-32C; all little-endian.

use prost::Message;

use super::record::{Metric, RunRecord};

/// The part of TensorFlow's `Event` that scalars need.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds; here those of training, from zero.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// The optimizer's step.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// The first record of a file names the format.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// What was measured.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Scalars>,
}

/// TensorFlow's `Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Scalars {
    /// The values of one step.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Scalar>,
}

/// TensorFlow's `Summary.Value` with a `simple_value`.
#[derive(Clone, PartialEq, Message)]
pub struct Scalar {
    /// The name of the curve.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// The value.
    #[prost(float, tag = "2")]
    pub simple_value: f32,
}

/// The name of a run's file in its folder; TensorBoard looks for the word in its middle.
pub const EVENTS_FILE: &str = "events.out.tfevents.0000000000.net2net";

/// A run's metrics as an event file.
#[must_use]
pub fn events(run: &RunRecord) -> Vec<u8> {
    let version = Event {
        file_version: Some("brain.Event:2".to_owned()),
        ..Event::default()
    };
    let mut file = Vec::new();
    record(&mut file, &version.encode_to_vec());
    for metric in &run.metrics {
        record(&mut file, &event(metric).encode_to_vec());
    }
    file
}

fn event(metric: &Metric) -> Event {
    let values = [
        ("accuracy/validation", Some(metric.validation_accuracy)),
        ("loss/validation", Some(metric.validation_loss)),
        ("loss/training", metric.train_loss),
        ("training/learning_rate", Some(metric.learning_rate)),
        ("training/epoch", Some(metric.epoch)),
        ("training/flops", Some(metric.flops)),
        ("training/seconds", Some(metric.seconds)),
        ("growth/copies_apart", metric.apart),
    ];
    let known = values.into_iter().filter_map(|(tag, value)| {
        Some(Scalar {
            tag: tag.to_owned(),
            simple_value: value? as f32,
        })
    });
    Event {
        wall_time: metric.seconds,
        step: metric.step as i64,
        file_version: None,
        summary: Some(Scalars {
            value: known.collect(),
        }),
    }
}

fn record(file: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked(&length).to_le_bytes());
    file.extend_from_slice(bytes);
    file.extend_from_slice(&masked(bytes).to_le_bytes());
}

/// A checksum of data that holds checksums would be weak, so they are stored turned and shifted.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}
