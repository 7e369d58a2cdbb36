//! State dicts in shards: grown to shards, whole or not at all, and never trusted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use net2net_onnx::proto::GraphProto;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::growing::{done, fails, node, save, tensor, value};
use super::state::{Tensors, forward, model, random, read, write};

const INDEX: &str = "model.safetensors.index.json";

fn weights() -> Tensors {
    let sizes = [
        ("a.weight", vec![4, 4]),
        ("a.bias", vec![4]),
        ("b.weight", vec![4, 4]),
        ("other", vec![3]),
    ];
    let one = |(name, shape): (&str, Vec<usize>)| {
        let count = shape.iter().product();
        (name.to_owned(), (shape, random(5, name, count)))
    };
    sizes.into_iter().map(one).collect()
}

/// Writes tensors into shards by their names, and an index.
fn write_shards(folder: &Path, tensors: &Tensors, shard: impl Fn(&str) -> String) {
    fs::create_dir_all(folder).unwrap();
    let mut shards: BTreeMap<String, Tensors> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, tensor) in tensors {
        let own = shards.entry(shard(name)).or_default();
        own.insert(name.clone(), tensor.clone());
        places.insert(name.clone(), shard(name));
    }
    for (name, own) in &shards {
        write(&folder.join(name), own);
    }
    let index = json!({
        "metadata": { "total_size": 1, "note": "kept" }, "weight_map": places, "more": [1],
    });
    fs::write(folder.join(INDEX), index.to_string()).unwrap();
}

fn two(name: &str) -> String {
    let first = name.starts_with('a');
    format!(
        "model-0000{}-of-00002.safetensors",
        if first { 1 } else { 2 }
    )
}

/// All tensors by the index, and where each is.
fn read_shards(folder: &Path) -> (Tensors, Value) {
    let index: Value = serde_json::from_slice(&fs::read(folder.join(INDEX)).unwrap()).unwrap();
    let mut all = Tensors::new();
    for (name, shard) in index["weight_map"].as_object().unwrap() {
        let own = read(&folder.join(shard.as_str().unwrap()));
        all.insert(name.clone(), own[name].clone());
    }
    (all, index)
}

#[test]
fn shards_grow_to_shards_of_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    let old = weights();
    write(&folder.join("old.safetensors"), &old);
    write_shards(&folder.join("old"), &old, two);
    let command = "grow model.onnx --widen a=7 -o";
    done(
        folder,
        &format!("{command} big.onnx --state-dict old.safetensors new.safetensors"),
    );
    done(folder, &format!("{command} big2.onnx --state-dict old new"));
    let (new, index) = read_shards(&folder.join("new"));
    assert_eq!(new, read(&folder.join("new.safetensors")));
    assert_eq!(new["a.weight"].0, [7, 4]);
    let x = random(9, "x", 4);
    for (a, b) in forward(&old, &x).iter().zip(forward(&new, &x)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let count: usize = new.values().map(|(_, data)| data.len()).sum();
    assert_eq!(index["metadata"]["total_size"], 4 * count);
    assert_eq!(index["metadata"]["note"], "kept");
    assert_eq!(index["more"], json!([1]));
    for (name, shard) in index["weight_map"].as_object().unwrap() {
        assert_eq!(shard, &two(name));
    }
    // The index names the same shards, and does not overwrite.
    fails(
        folder,
        &format!("{command} big3.onnx --state-dict old/{INDEX} new"),
        1,
        &["new is there already"],
    );
    let again = format!("{command} big.onnx --force --state-dict old/{INDEX} new");
    fs::write(folder.join("new/notes.txt"), "mine").unwrap();
    done(folder, &again);
    assert_eq!(read_shards(&folder.join("new")).0, new);
    assert!(folder.join("new/notes.txt").exists());
    fails(
        folder,
        &format!("{command} big.onnx --force --state-dict old/{INDEX} old"),
        1,
        &["would be written over"],
    );
}

#[test]
fn a_state_dict_alone_may_grow() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    write_shards(&folder.join("old"), &weights(), two);
    let said = done(
        folder,
        "grow model.onnx --widen a=7 --state-dict old new --json",
    );
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["evidence"]["exact"], true);
    assert!(said["evidence_as_written"][0]["max_rel"].as_f64().unwrap() < 1e-5);
    assert_eq!(read_shards(&folder.join("new")).0["a.weight"].0, [7, 4]);
    fails(folder, "grow model.onnx --widen a=7", 2, &["--output"]);
}

#[test]
fn what_is_copied_lies_beside_its_original_and_metadata_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let graph = GraphProto {
        name: Some("residual".to_owned()),
        input: vec![value("x", Some(4))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("up.weight", &[6, 4], 1),
            tensor("down.weight", &[4, 6], 1),
            tensor("head.weight", &[2, 4], 1),
        ],
        node: vec![
            node("Gemm", &["x", "up.weight"], "up"),
            node("Relu", &["up"], "act"),
            node("Gemm", &["act", "down.weight"], "down"),
            node("Add", &["x", "down"], "sum"),
            node("Gemm", &["sum", "head.weight"], "y"),
        ],
        ..GraphProto::default()
    };
    save(&folder.join("model.onnx"), graph);
    let mut old = Tensors::new();
    for (name, shape) in [
        ("up.weight", vec![6, 4]),
        ("down.weight", vec![4, 6]),
        ("head.weight", vec![2, 4]),
    ] {
        let count = shape.iter().product();
        old.insert(name.to_owned(), (shape, random(2, name, count)));
    }
    let place = |name: &str| match name.starts_with("head") {
        true => "tail.safetensors".to_owned(),
        false => "body.safetensors".to_owned(),
    };
    write_shards(&folder.join("old"), &old, place);
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let path = folder.join("old/tail.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    fs::write(
        &path,
        safetensors::serialize(file.iter(), metadata).unwrap(),
    )
    .unwrap();
    done(folder, "grow model.onnx --copy sum --state-dict old new");
    let (new, index) = read_shards(&folder.join("new"));
    let added: Vec<&String> = new.keys().filter(|name| !old.contains_key(*name)).collect();
    assert_eq!(added.len(), 2, "{added:?}");
    for name in added {
        assert_eq!(index["weight_map"][name], "body.safetensors");
    }
    assert!(old.iter().all(|(name, tensor)| new[name] == *tensor));
    let bytes = fs::read(folder.join("new/tail.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
}

/// What is in the folder, and in the folders in it.
fn everything(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        }
        all.push(path.display().to_string());
    }
    all.sort();
    all
}

#[test]
fn indices_that_lie_are_refused_and_nothing_is_written() {
    let outer = tempfile::tempdir().unwrap();
    let outer = outer.path();
    write(&outer.join("secret.safetensors"), &weights());
    type Spoil = fn(&Path, &mut Value);
    let cases: [(&str, Spoil, &str); 11] = [
        (
            "missing",
            |dir, _| fs::remove_file(dir.join(two("a"))).unwrap(),
            "No such file",
        ),
        (
            "outside",
            |_, index| index["weight_map"]["a.weight"] = json!("../../secret.safetensors"),
            "is no file beside the index",
        ),
        (
            "absolute",
            |_, index| index["weight_map"]["a.weight"] = json!("/etc/passwd"),
            "is no file beside the index",
        ),
        (
            "number",
            |_, index| index["weight_map"]["a.weight"] = json!(7),
            "is no name",
        ),
        ("mapless", |_, index| *index = json!({}), "weight_map"),
        (
            "empty",
            |_, index| index["weight_map"] = json!({}),
            "is empty",
        ),
        ("list", |_, index| *index = json!([1, 2]), "is no index"),
        (
            "elsewhere",
            |_, index| index["weight_map"]["a.weight"] = json!(two("b")),
            "it is not there",
        ),
        (
            "unknown",
            |_, index| index["weight_map"]["ghost"] = json!(two("b")),
            "it is not there",
        ),
        (
            "twice",
            |dir, _| write(&dir.join(two("b")), &weights()),
            "is both in",
        ),
        (
            "cut",
            |dir, _| {
                let path = dir.join(two("a"));
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
            },
            "is not a valid safetensors file",
        ),
    ];
    for (name, spoil, said) in cases {
        let folder = outer.join(name);
        let old = folder.join("old");
        write_shards(&old, &weights(), two);
        model(&folder.join("model.onnx"));
        let mut index: Value = serde_json::from_slice(&fs::read(old.join(INDEX)).unwrap()).unwrap();
        spoil(&old, &mut index);
        fs::write(old.join(INDEX), index.to_string()).unwrap();
        let before = everything(&folder);
        let line = "grow model.onnx --widen a=7 -o big.onnx --state-dict old new";
        fails(&folder, line, 1, &[said]);
        assert_eq!(everything(&folder), before, "{name}");
    }
    // Neither a folder without an index nor one with two says what is meant.
    let folder = outer.join("none");
    fs::create_dir_all(folder.join("old")).unwrap();
    model(&folder.join("model.onnx"));
    let line = "grow model.onnx --widen a=7 --state-dict old new";
    fails(&folder, line, 1, &["no index of shards"]);
    for name in ["a", "b"] {
        fs::write(
            folder.join(format!("old/{name}.safetensors.index.json")),
            "{}",
        )
        .unwrap();
    }
    fails(&folder, line, 1, &["several indices"]);
}

/// A disk that takes no more is like a limit on the size of files; a shell can set one.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let graph = GraphProto {
        name: Some("large".to_owned()),
        input: vec![value("x", Some(64))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("a.weight", &[2048, 64], 1),
            tensor("b.weight", &[4, 2048], 1),
        ],
        node: vec![
            node("Gemm", &["x", "a.weight"], "a"),
            node("Relu", &["a"], "r"),
            node("Gemm", &["r", "b.weight"], "y"),
        ],
        ..GraphProto::default()
    };
    save(&folder.join("model.onnx"), graph);
    let mut old = Tensors::new();
    for (name, shape) in [("a.weight", vec![2048, 64]), ("b.weight", vec![4, 2048])] {
        let count = shape.iter().product();
        old.insert(name.to_owned(), (shape, random(2, name, count)));
    }
    write_shards(&folder.join("old"), &old, two);
    let before = everything(folder);
    for line in [
        "grow model.onnx --wider 1.5 -o big.onnx",
        "grow model.onnx --wider 1.5 --state-dict old new",
    ] {
        // The old files have about 560 kB, the new ones 840.
        let limited = "trap '' XFSZ; ulimit -f 1200; exec \"$0\" \"$@\"";
        let output = Command::new("sh")
            .args(["-c", limited, env!("CARGO_BIN_EXE_net2net")])
            .args(line.split_whitespace())
            .current_dir(folder)
            .output()
            .unwrap();
        let said = super::text(&output.stderr);
        // What `File too large` says is that there is no room.
        assert_eq!(output.status.code(), Some(3), "{line}: {said}");
        assert!(said.contains("large") || said.contains("space"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(everything(folder), before, "{line}");
    }
    done(folder, "grow model.onnx --wider 1.5 --state-dict old new");
}
