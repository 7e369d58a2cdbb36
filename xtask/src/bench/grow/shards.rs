//! A checkpoint of 4 GB in shards, some blocks of which are copied: by the program and, if it is
//! there, by mergekit's passthrough.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use net2net_onnx::proto::TensorProto;
use serde::Serialize;
use serde_json::json;

use super::super::page::row;
use super::super::statistics::median;
use super::super::synthetic::Synthetic;
use super::{MIB, Rounds, copy, entry, folder_bytes, grow, random_bytes};

/// Sizes of the checkpoint; the heads are small, since only the feed-forward layers are in the graph.
const HIDDEN: i64 = 4096;
const INNER: i64 = 11008;
const HEAD: i64 = 64;
const WORDS: i64 = 2048;
/// Blocks, and those that are copied.
const LAYERS: usize = 8;
const COPIED: [usize; 2] = [4, 5];

/// What was measured: medians of seconds.
#[derive(Serialize)]
pub(super) struct Checkpoint {
    rounds: usize,
    input_bytes: u64,
    output_bytes: u64,
    grow: f64,
    copy: f64,
    copy_and_sync: f64,
    speed: f64,
    speed_synced: f64,
    peak_bytes: u64,
    mergekit: Option<Peer>,
}

/// mergekit's passthrough of the same blocks.
#[derive(Serialize)]
struct Peer {
    version: String,
    output_bytes: u64,
    seconds: f64,
    /// Its time over that of growing, the median of the rounds' ratios.
    ratio: f64,
}

/// Grows, copies and merges in turn.
pub(super) fn measure(
    folder: &Path,
    program: &Path,
    mergekit: Option<&Path>,
    quick: bool,
    rounds: usize,
) -> Result<Checkpoint> {
    let (old, new) = (folder.join("old"), folder.join("new"));
    fs::create_dir_all(&old)?;
    let scale = if quick { 8 } else { 1 };
    let model = generate(&old, scale)?;
    let copies = COPIED.map(sum);
    let options = ["--copy", &copies[0], "--copy", &copies[1], "--state-dict"].map(OsStr::new);
    let mut all = Rounds::default();
    let (mut peer, mut ratios, mut peak) = (Vec::new(), Vec::new(), 0);
    let (mut output_bytes, mut merged_bytes) = (0, 0);
    // The first round fills the cache.
    for round in 0..=rounds {
        let folders = [old.as_os_str(), new.as_os_str()];
        let grown = grow(program, &model, options.into_iter().chain(folders))?;
        let [plain, synced] = [false, true].map(|sync| copy(&new, sync));
        let copies = [plain?, synced?];
        output_bytes = folder_bytes(&new)?;
        fs::remove_dir_all(&new)?;
        let merged = match mergekit {
            Some(python) => Some(merge(python, folder, &old)?),
            None => None,
        };
        if round > 0 {
            peak = peak.max(grown.peak_bytes);
            all.add(grown.seconds, copies);
            if let Some((seconds, bytes)) = merged {
                peer.push(seconds);
                ratios.push(seconds / grown.seconds);
                merged_bytes = bytes;
            }
        }
    }
    let measured = Checkpoint {
        rounds,
        input_bytes: folder_bytes(&old)?,
        output_bytes,
        speed: all.ratio(0),
        speed_synced: all.ratio(1),
        grow: median(all.grow),
        copy: median(all.copies[0].clone()),
        copy_and_sync: median(all.copies[1].clone()),
        peak_bytes: peak,
        mergekit: mergekit
            .map(|python| -> Result<Peer> {
                Ok(Peer {
                    version: version(python)?,
                    output_bytes: merged_bytes,
                    seconds: median(peer),
                    ratio: median(ratios),
                })
            })
            .transpose()?,
    };
    fs::remove_dir_all(folder)?;
    Ok(measured)
}

/// The value that a block ends in.
fn sum(layer: usize) -> String {
    format!("model.layers.{layer}.sum")
}

/// The name and sizes of each tensor of a block; those of its feed-forward layers come first.
fn tensors(layer: usize, scale: i64) -> Vec<(String, [i64; 2])> {
    let (hidden, inner) = (HIDDEN, INNER / scale);
    let all = [
        ("mlp.gate_proj", [inner, hidden]),
        ("mlp.up_proj", [inner, hidden]),
        ("mlp.down_proj", [hidden, inner]),
        ("self_attn.q_proj", [HEAD, hidden]),
        ("self_attn.k_proj", [HEAD, hidden]),
        ("self_attn.v_proj", [HEAD, hidden]),
        ("self_attn.o_proj", [hidden, HEAD]),
        ("input_layernorm", [1, hidden]),
        ("post_attention_layernorm", [1, hidden]),
    ];
    let named = all.into_iter();
    named
        .map(|(name, sizes)| (format!("model.layers.{layer}.{name}.weight"), sizes))
        .collect()
}

/// Writes the checkpoint in two shards a block pair, its index and configuration, and a graph of its
/// feed-forward blocks whose tensors lie in the shards. Returns the graph's path.
fn generate(folder: &Path, scale: i64) -> Result<PathBuf> {
    let mut model = Synthetic::new(&[HIDDEN], &[HIDDEN]);
    let mut places = serde_json::Map::new();
    let (mut total, mut x) = (0, "x".to_owned());
    let shards = LAYERS / 2;
    for shard in 0..shards {
        let name = format!("model-{:05}-of-{shards:05}.safetensors", shard + 1);
        let mut own = Vec::new();
        if shard == 0 {
            own.push(("model.embed_tokens.weight".to_owned(), [WORDS, HIDDEN]));
        }
        for layer in [2 * shard, 2 * shard + 1] {
            own.extend(tensors(layer, scale));
        }
        if shard + 1 == shards {
            own.push(("lm_head.weight".to_owned(), [WORDS, HIDDEN]));
            own.push(("model.norm.weight".to_owned(), [1, HIDDEN]));
        }
        let begins = write_shard(&folder.join(&name), &own)?;
        for ((tensor, sizes), begin) in own.iter().zip(begins) {
            let bytes = 4 * sizes[0] * sizes[1];
            total += bytes;
            places.insert(tensor.clone(), json!(name));
            if tensor.contains(".mlp.") {
                let place = [
                    ("location", name.clone()),
                    ("offset", begin.to_string()),
                    ("length", bytes.to_string()),
                ];
                model.graph.initializer.push(TensorProto {
                    name: Some(tensor.clone()),
                    dims: sizes.to_vec(),
                    data_type: Some(1),
                    data_location: Some(1),
                    external_data: place.map(|(key, value)| entry(key, value)).into(),
                    ..TensorProto::default()
                });
            }
        }
        for layer in [2 * shard, 2 * shard + 1] {
            x = block(&mut model, layer, &x);
        }
    }
    model.node("Identity", &[&x], "y");
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    let index = serde_json::to_vec_pretty(&index)?;
    fs::write(folder.join("model.safetensors.index.json"), index)?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": INNER / scale, "num_hidden_layers": LAYERS, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": HEAD, "vocab_size": WORDS, "torch_dtype": "float32",
        "tie_word_embeddings": false, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    });
    fs::write(
        folder.join("config.json"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    let path = folder.join("model.onnx");
    model.document().save(&path)?;
    Ok(path)
}

/// A gated feed-forward block with its residual path.
fn block(model: &mut Synthetic, layer: usize, x: &str) -> String {
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let (gate, up, down) = (name("gate"), name("up"), name("down"));
    let (sigmoid, act, product, sum) = (name("sigmoid"), name("act"), name("product"), sum(layer));
    let linear = |model: &mut Synthetic, input: &str, weight: &str, output: &str| {
        let weight = format!("model.layers.{layer}.mlp.{weight}.weight");
        model.node("Gemm", &[input, &weight], output);
        model.attribute("transB", 1);
    };
    linear(model, x, "gate_proj", &gate);
    model.node("Sigmoid", &[&gate], &sigmoid);
    model.node("Mul", &[&gate, &sigmoid], &act);
    linear(model, x, "up_proj", &up);
    model.node("Mul", &[&act, &up], &product);
    linear(model, &product, "down_proj", &down);
    model.node("Add", &[x, &down], &sum);
    sum
}

/// Writes tensors of f32 as a safetensors file; returns where each begins.
fn write_shard(path: &Path, tensors: &[(String, [i64; 2])]) -> Result<Vec<i64>> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let (mut begins, mut end) = (Vec::new(), 0);
    for (name, sizes) in tensors {
        begins.push(end);
        end += 4 * sizes[0] * sizes[1];
        let shape = if sizes[0] == 1 {
            &sizes[1..]
        } else {
            &sizes[..]
        };
        let offsets = [end - 4 * sizes[0] * sizes[1], end];
        let tensor = json!({ "dtype": "F32", "shape": shape, "data_offsets": offsets });
        header.insert(name.clone(), tensor);
    }
    let mut text = serde_json::to_vec(&header)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(text.len() as u64).to_le_bytes())?;
    file.write_all(&text)?;
    for (name, sizes) in tensors {
        file.write_all(&random_bytes(name, *sizes))?;
    }
    file.flush()?;
    let data = 8 + text.len() as i64;
    Ok(begins.into_iter().map(|begin| begin + data).collect())
}

/// Has mergekit repeat the same blocks; returns its seconds, and the bytes that it wrote.
fn merge(python: &Path, folder: &Path, old: &Path) -> Result<(f64, u64)> {
    let (plan, out) = (folder.join("merge.yml"), folder.join("merged"));
    let old = old.display();
    let slice = |from: usize, to: usize| {
        format!("- sources:\n  - model: {old}\n    layer_range: [{from}, {to}]\n")
    };
    let [first, last] = [COPIED[0], COPIED[COPIED.len() - 1] + 1];
    let slices = slice(0, last) + &slice(first, LAYERS);
    fs::write(
        &plan,
        format!("slices:\n{slices}merge_method: passthrough\n"),
    )?;
    let start = Instant::now();
    let run = Command::new(python)
        .args(["-m", "mergekit.scripts.run_yaml"])
        .args([&plan, &out])
        .args(["--no-copy-tokenizer", "--out-shard-size", "1B", "--quiet"])
        .env("HF_HUB_OFFLINE", "1")
        .output()?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "mergekit failed: {said}");
    let bytes = folder_bytes(&out)?;
    fs::remove_dir_all(out)?;
    Ok((seconds, bytes))
}

fn version(python: &Path) -> Result<String> {
    let ask = "from importlib.metadata import version as v; print(f'mergekit {v(\"mergekit\")}, PyTorch {v(\"torch\")}')";
    let said = Command::new(python).args(["-c", ask]).output()?;
    let text = String::from_utf8(said.stdout).context("mergekit's version")?;
    Ok(text.trim().to_owned())
}

impl Checkpoint {
    /// For people who wait.
    pub(super) fn line(&self) -> String {
        let peer = self.mergekit.as_ref();
        let peer = peer.map_or(String::new(), |peer| {
            format!(
                "; mergekit {:.2} s, {:.1} times ours",
                peer.seconds, peer.ratio
            )
        });
        format!(
            "shards: {:.2} s; copied in {:.2} s, {:.2} s with the disk; peak {:.0} MiB{peer}",
            self.grow,
            self.copy,
            self.copy_and_sync,
            self.peak_bytes as f64 / MIB
        )
    }

    /// Its part of the section.
    pub(super) fn markdown(&self) -> String {
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / MIB);
        let mut text = format!(
            "\n\nA made-up checkpoint of Llama's tensors in f32, {} in {} shards, and a graph of its \
             gated feed-forward blocks, two of which are copied by `net2net grow --copy … --state-dict` \
             to {} in as many shards: proved, as above, and synchronised with the disk. Medians of {} \
             rounds in turns, all files in the system's cache.\n\n",
            mib(self.input_bytes),
            LAYERS / 2,
            mib(self.output_bytes),
            self.rounds
        );
        text += &row(&["", "seconds", "times ours", "peak memory"]);
        text += &row(&["---", "---:", "---:", "---:"]);
        let line = |name: &str, seconds: f64, ratio: f64, peak: &str| {
            let (seconds, ratio) = (format!("{seconds:.2}"), format!("{ratio:.2}"));
            row(&[name, &seconds, &ratio, peak])
        };
        text += &line("`net2net grow`", self.grow, 1.0, &mib(self.peak_bytes));
        text += &line("`cp -r` of the output", self.copy, self.speed, "");
        text += &line(
            "the same, synchronised",
            self.copy_and_sync,
            self.speed_synced,
            "",
        );
        if let Some(peer) = &self.mergekit {
            let name = "mergekit, passthrough of the same blocks";
            text += &line(name, peer.seconds, peer.ratio, "");
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n{}: {:.1} times as long as growing, for {} that are neither proved nor synchronised \
                 with the disk. Speed beside `cp`: **{:.2}**, synchronised **{:.2}**.\n",
                peer.version,
                peer.ratio,
                mib(peer.output_bytes),
                self.speed,
                self.speed_synced
            );
        }
        text
    }
}
