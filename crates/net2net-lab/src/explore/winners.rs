//! The networks of the front, with what leads to them.

use std::fs;
use std::path::Path;

use net2net_core::io::{Checkpoint, write_atomic};

use super::error::ExploreError;
use super::seed::START_FILE;
use super::state::State;
use crate::train::MODEL_FILE;
use crate::trial::{ONNX_FILE, TrialError, write_onnx};

/// A candidate in names of files.
pub(super) fn label(candidate: usize) -> String {
    format!("c{candidate:03}")
}

/// A candidate's trial in names of files.
pub(super) fn trial(candidate: usize, rung: usize) -> String {
    format!("c{candidate:03}-r{rung}")
}

/// The candidates from the start to one, that one included.
pub(super) fn ancestry(state: &State, candidate: usize) -> Vec<usize> {
    let mut line = vec![candidate];
    while let Some(parent) = state.candidates[line[line.len() - 1]].parent {
        line.push(parent);
    }
    line.reverse();
    line
}

/// Leaves each of some candidates in `winners/`: the network, and the plans that lead to it from the start, in their order.
pub(super) fn write(state: &State, folder: &Path, front: &[usize]) -> Result<(), ExploreError> {
    for candidate in front {
        let to = folder.join("winners").join(label(*candidate));
        fs::create_dir_all(&to).map_err(ExploreError::file(&to))?;
        match state.last(*candidate) {
            Some((rung, _)) => {
                let from = folder.join("trials").join(trial(*candidate, rung));
                let network = from.join(MODEL_FILE);
                let damaged = |source| ExploreError::Damaged {
                    remove: from.clone(),
                    source: Box::new(source),
                };
                // Whatever has become of the trial's files since, people get whole ones.
                let model = Checkpoint::read(&network).map_err(damaged)?;
                copy(&network, &to.join(MODEL_FILE))?;
                if from.join(ONNX_FILE).exists() {
                    write_onnx(&model, &to.join(ONNX_FILE))?;
                }
            }
            // A start that was not trained here, as it was given.
            None => {
                let start = folder.join(START_FILE);
                copy(&start, &to.join(MODEL_FILE))?;
                let model = Checkpoint::read(&start).map_err(TrialError::from)?;
                write_onnx(&model, &to.join(ONNX_FILE))?;
            }
        }
        let line = ancestry(state, *candidate);
        let plans = line
            .iter()
            .filter_map(|i| state.candidates[*i].plan.as_ref());
        for (number, plan) in (1..).zip(plans) {
            let path = to.join(format!("plan-{number}.json"));
            let json = serde_json::to_vec_pretty(plan).map_err(|source| ExploreError::Json {
                path: path.clone(),
                source,
            })?;
            write_atomic(&path, &json).map_err(ExploreError::file(&path))?;
        }
    }
    Ok(())
}

/// Another name for a file; a copy where the file system has none. What is there is replaced.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), ExploreError> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(ExploreError::file(to)(error));
        }
        _ => {}
    }
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to)
}

fn copy(from: &Path, to: &Path) -> Result<(), ExploreError> {
    let bytes = fs::read(from).map_err(ExploreError::file(from))?;
    write_atomic(to, &bytes).map_err(ExploreError::file(to))
}
