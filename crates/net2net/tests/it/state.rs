//! State dicts and optimizer states that grow beside their model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use net2net_core::weights::{normal, stream};
use net2net_onnx::proto::GraphProto;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::growing::{done, fails, node, save, tensor, value};

/// Tensors of f32 by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Two layers whose weights are turned before they are read, as exporters of linear layers do it;
/// both are square, so that their sizes do not tell which way round they are.
pub fn model(path: &Path) {
    let graph = GraphProto {
        name: Some("turned".to_owned()),
        input: vec![value("x", Some(4))],
        output: vec![value("y", None)],
        initializer: vec![
            tensor("a.weight", &[4, 4], 1),
            tensor("a.bias", &[4], 1),
            tensor("b.weight", &[4, 4], 1),
        ],
        node: vec![
            node("Transpose", &["a.weight"], "at"),
            node("MatMul", &["x", "at"], "m"),
            node("Add", &["m", "a.bias"], "h"),
            node("Relu", &["h"], "r"),
            node("Transpose", &["b.weight"], "bt"),
            node("MatMul", &["r", "bt"], "y"),
        ],
        ..GraphProto::default()
    };
    save(path, graph);
}

pub fn random(seed: u64, name: &str, count: usize) -> Vec<f32> {
    let mut random = stream(seed, name);
    (0..count).map(|_| normal(&mut random) as f32).collect()
}

pub fn write(path: &Path, tensors: &Tensors) {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, data))| {
            let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), shape.clone(), bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| {
        let words = view.data().as_chunks::<4>().0.iter();
        let data = words.map(|b| f32::from_le_bytes(*b)).collect();
        (name, (view.shape().to_vec(), data))
    });
    tensors.collect()
}

/// What a module with these weights makes of an input: `b · relu(a · x + bias)`.
pub fn forward(state: &Tensors, x: &[f32]) -> Vec<f32> {
    let times = |name: &str, x: &[f32]| -> Vec<f32> {
        let (shape, data) = &state[name];
        let rows = data.chunks_exact(shape[1]);
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum())
            .collect()
    };
    let hidden = times("a.weight", x).into_iter().zip(&state["a.bias"].1);
    let hidden: Vec<f32> = hidden.map(|(h, bias)| (h + bias).max(0.0)).collect();
    times("b.weight", &hidden)
}

#[test]
fn a_state_dict_of_the_same_module_computes_the_same_when_grown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    // Numbers of their own: a later checkpoint of the module that was exported.
    let mut old = Tensors::new();
    for (name, shape) in [
        ("a.weight", vec![4, 4]),
        ("a.bias", vec![4]),
        ("b.weight", vec![4, 4]),
    ] {
        let count = shape.iter().product();
        old.insert(name.to_owned(), (shape, random(5, name, count)));
    }
    old.insert("other".to_owned(), (vec![2], vec![1.0, 2.0]));
    write(&folder.join("old.safetensors"), &old);
    done(
        folder,
        "grow model.onnx --widen a=7 -o big.onnx --state-dict old.safetensors new.safetensors",
    );
    let new = read(&folder.join("new.safetensors"));
    assert_eq!(new["a.weight"].0, [7, 4]);
    assert_eq!(new["b.weight"].0, [4, 7]);
    assert_eq!(new["other"], old["other"]);
    let x = random(9, "x", 4);
    for (a, b) in forward(&old, &x).iter().zip(forward(&new, &x)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn moments_grow_with_their_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    let mut old = Tensors::new();
    for name in [
        "a.weight.exp_avg",
        "a.weight.exp_avg_sq",
        "b.weight.exp_avg",
    ] {
        old.insert(name.to_owned(), (vec![4, 4], random(5, name, 16)));
    }
    old.insert("a.weight.step".to_owned(), (Vec::new(), vec![12.0]));
    write(&folder.join("old.safetensors"), &old);
    done(
        folder,
        "grow model.onnx --widen a=7 -o big.onnx --optimizer old.safetensors new.safetensors",
    );
    let new = read(&folder.join("new.safetensors"));
    let (shape, first) = &new["a.weight.exp_avg"];
    assert_eq!(shape, &[7, 4]);
    // The copies of a row share its gradient, and so its first moment.
    let column = |data: &[f32], at: usize| data.iter().skip(at).step_by(4).sum::<f32>();
    for at in 0..4 {
        let before = column(&old["a.weight.exp_avg"].1, at);
        assert!((column(first, at) - before).abs() < 1e-5);
    }
    assert_eq!(new["a.weight.exp_avg_sq"].0, [7, 4]);
    // What reads copies keeps its moments.
    let (shape, readers) = &new["b.weight.exp_avg"];
    assert_eq!(shape, &[4, 7]);
    for (row, old) in readers
        .chunks_exact(7)
        .zip(old["b.weight.exp_avg"].1.chunks_exact(4))
    {
        assert!(row.iter().all(|x| old.contains(x)));
    }
    assert_eq!(new["a.weight.step"], old["a.weight.step"]);
    done(
        folder,
        "grow model.onnx --deeper a -o deep.onnx --optimizer old.safetensors deep.safetensors",
    );
    let new = read(&folder.join("deep.safetensors"));
    let inserted: Vec<&String> = new.keys().filter(|name| name.contains("deeper1")).collect();
    assert!(
        inserted.iter().any(|name| name.ends_with(".exp_avg")),
        "{inserted:?}"
    );
    for name in inserted {
        assert!(new[name].1.iter().all(|x| *x == 0.0), "{name}");
    }
}

/// Writes an array as NumPy does.
fn write_npy(path: &Path, shape: &[u64], numbers: &[f32]) {
    use npyz::WriterBuilder;
    let file = fs::File::create(path).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(file).begin_nd().unwrap();
    writer.extend(numbers.iter().copied()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn given_samples_are_what_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    write_npy(&folder.join("x.npy"), &[7, 4], &random(1, "x", 28));
    let said = done(
        folder,
        "grow model.onnx --wider 2 -o big.onnx --inputs x.npy",
    );
    assert!(said.contains("on 7 samples of x.npy"), "{said}");
    let said = done(folder, "verify model.onnx big.onnx --inputs x.npy");
    assert!(
        said.contains("the same function on 7 samples of x.npy"),
        "{said}"
    );
    write_npy(&folder.join("wide.npy"), &[7, 5], &random(1, "x", 35));
    let wrong = &["[7, 5] in wide.npy", "[N, 4]"];
    fails(
        folder,
        "verify model.onnx big.onnx --inputs wide.npy",
        1,
        wrong,
    );
    fs::write(folder.join("text.npy"), "no array").unwrap();
    fails(
        folder,
        "verify model.onnx big.onnx --inputs text.npy",
        1,
        &["text.npy"],
    );
    fails(
        folder,
        "verify model.onnx big.onnx --inputs none.npz",
        1,
        &["none.npz"],
    );
    fails(
        folder,
        "verify model.onnx big.onnx --inputs x.npy --samples 3",
        2,
        &["cannot be used"],
    );
}

#[test]
fn samples_come_from_archives_of_numpy() {
    use zip::CompressionMethod::{Deflated, Stored};
    use zip::{ZipWriter, write::SimpleFileOptions};
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    write_npy(&folder.join("x.npy"), &[7, 4], &random(1, "x", 28));
    let array = fs::read(folder.join("x.npy")).unwrap();
    // `numpy.savez` stores, `numpy.savez_compressed` deflates.
    for (file, method, name) in [
        ("stored.npz", Stored, "x.npy"),
        ("deflated.npz", Deflated, "x.npy"),
        ("other.npz", Stored, "other.npy"),
    ] {
        let mut archive = ZipWriter::new(fs::File::create(folder.join(file)).unwrap());
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut archive, &array).unwrap();
        archive.finish().unwrap();
    }
    for file in ["stored", "deflated"] {
        let grow = format!("grow model.onnx --wider 2 -o {file}.onnx --inputs {file}.npz");
        let said = done(folder, &grow);
        assert!(
            said.contains(&format!("on 7 samples of {file}.npz")),
            "{said}"
        );
    }
    fails(
        folder,
        "verify model.onnx stored.onnx --inputs other.npz",
        1,
        &["there is no array `x`"],
    );
}

#[test]
fn files_that_do_not_belong_to_the_model_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(&folder.join("model.onnx"));
    let mut other = Tensors::new();
    other.insert("c.weight".to_owned(), (vec![2], vec![1.0, 2.0]));
    write(&folder.join("other.safetensors"), &other);
    other.insert("a.weight".to_owned(), (vec![2, 4], vec![0.0; 8]));
    write(&folder.join("shape.safetensors"), &other);
    std::fs::write(folder.join("weights.th"), b"\x80\x02}q\x00.").unwrap();
    std::fs::write(folder.join("weights.pt"), b"PK\x03\x04").unwrap();
    let grow = "grow model.onnx --wider 2 -o big.onnx";
    for (flag, file, said) in [
        (
            "--state-dict",
            "other.safetensors",
            "no tensor of other.safetensors",
        ),
        (
            "--state-dict",
            "shape.safetensors",
            "is it the same network?",
        ),
        ("--state-dict", "weights.th", "save_file"),
        ("--state-dict", "weights.pt", "save_file"),
        ("--optimizer", "other.safetensors", "holds no moments"),
        ("--optimizer", "nothing.safetensors", "nothing.safetensors"),
    ] {
        fails(
            folder,
            &format!("{grow} {flag} {file} new.safetensors"),
            1,
            &[said],
        );
        assert!(!folder.join("big.onnx").exists() && !folder.join("new.safetensors").exists());
    }
    // A matrix under another name would stay as it was beside a shift that grows.
    let mut renamed = Tensors::new();
    for (name, shape) in [
        ("a.kernel", vec![4, 4]),
        ("a.bias", vec![4]),
        ("b.weight", vec![4, 4]),
    ] {
        let count = shape.iter().product();
        renamed.insert(name.to_owned(), (shape, random(2, name, count)));
    }
    write(&folder.join("renamed.safetensors"), &renamed);
    let line = format!("{grow} --state-dict renamed.safetensors new.safetensors");
    fails(
        folder,
        &line,
        1,
        &["`a.weight` of the model grows", "`a.kernel` may be it"],
    );
    let twice = format!(
        "{grow} --state-dict other.safetensors new.safetensors --optimizer other.safetensors new.safetensors"
    );
    fails(folder, &twice, 1, &["the same file"]);
}
