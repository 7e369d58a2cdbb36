//! Small models, built message by message as exporters build them.

use std::path::Path;

use net2net_core::weights::{normal, stream};
use net2net_onnx::Document;
use net2net_onnx::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};
use prost::Message;
use prost::bytes::Bytes;

/// The axis that a model leaves open.
pub(crate) const OPEN: i64 = -1;

/// A model under construction.
#[derive(Clone)]
pub(crate) struct Model(pub(crate) ModelProto);

impl Model {
    /// An empty model of a version of the operator set.
    pub(crate) fn new(opset: i64) -> Model {
        Model(ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(opset),
            }],
            producer_name: Some("tests".to_owned()),
            doc_string: Some("a model; ein Modell: 模型".to_owned()),
            metadata_props: vec![entry("author", "nobody"), entry("labels", "[\"a\", \"b\"]")],
            graph: Some(GraphProto {
                name: Some("main graph".to_owned()),
                doc_string: Some("its graph".to_owned()),
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        })
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    /// An input of real numbers; [`OPEN`] is the batch.
    pub(crate) fn input(mut self, name: &str, dims: &[i64]) -> Model {
        self.graph().input.push(info(name, 1, dims));
        self
    }

    /// An output; its shape is not stated.
    pub(crate) fn output(mut self, name: &str) -> Model {
        let mut value = info(name, 1, &[]);
        value
            .r#type
            .as_mut()
            .unwrap()
            .tensor_type
            .as_mut()
            .unwrap()
            .shape = None;
        self.graph().output.push(value);
        self
    }

    /// What the model says of a value in between.
    pub(crate) fn stated(mut self, name: &str, dims: &[i64]) -> Model {
        self.graph().value_info.push(info(name, 1, dims));
        self
    }

    pub(crate) fn tensor(mut self, tensor: TensorProto) -> Model {
        self.graph().initializer.push(tensor);
        self
    }

    /// An initialiser of random numbers.
    pub(crate) fn weight(self, name: &str, dims: &[usize]) -> Model {
        self.tensor(floats(name, dims, &random(name, dims)))
    }

    /// An initialiser of random numbers above a half, as variances are.
    pub(crate) fn variance(self, name: &str, dims: &[usize]) -> Model {
        let numbers: Vec<f32> = random(name, dims).iter().map(|x| x.abs() + 0.5).collect();
        self.tensor(floats(name, dims, &numbers))
    }

    /// An initialiser of whole numbers.
    pub(crate) fn ints(self, name: &str, numbers: &[i64]) -> Model {
        self.tensor(whole(name, numbers))
    }

    pub(crate) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[AttributeProto],
    ) -> Model {
        let count = self.graph().node.len();
        self.graph().node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            name: Some(format!("/{op}_{count}")),
            op_type: Some(op.to_owned()),
            attribute: attributes.to_vec(),
            doc_string: Some(format!("node {count}")),
            metadata_props: vec![entry("number", &count.to_string())],
            ..NodeProto::default()
        });
        self
    }

    /// A convolution with its weight and bias, named after its output.
    pub(crate) fn conv(self, input: &str, output: &str, from: usize, to: usize) -> Model {
        let (weight, bias) = (format!("{output}.weight"), format!("{output}.bias"));
        self.weight(&weight, &[to, from, 3, 3])
            .weight(&bias, &[to])
            .node(
                "Conv",
                &[input, &weight, &bias],
                &[output],
                &[ints("pads", &[1, 1, 1, 1]), ints("kernel_shape", &[3, 3])],
            )
    }

    /// A batch normalisation with its parameters, named after its output.
    pub(crate) fn norm(self, input: &str, output: &str, channels: usize) -> Model {
        let name = |part: &str| format!("{output}.{part}");
        let names = ["weight", "bias", "running_mean", "running_var"].map(name);
        self.weight(&names[0], &[channels])
            .weight(&names[1], &[channels])
            .weight(&names[2], &[channels])
            .variance(&names[3], &[channels])
            .node(
                "BatchNormalization",
                &[input, &names[0], &names[1], &names[2], &names[3]],
                &[output],
                &[float("epsilon", 1e-5), float("momentum", 0.9)],
            )
    }

    /// A linear layer as PyTorch exports it, named after its output.
    pub(crate) fn gemm(self, input: &str, output: &str, from: usize, to: usize) -> Model {
        let (weight, bias) = (format!("{output}.weight"), format!("{output}.bias"));
        self.weight(&weight, &[to, from]).weight(&bias, &[to]).node(
            "Gemm",
            &[input, &weight, &bias],
            &[output],
            &[int("transB", 1), float("alpha", 1.0)],
        )
    }

    pub(crate) fn relu(self, input: &str, output: &str) -> Model {
        self.node("Relu", &[input], &[output], &[])
    }

    /// The mean over the pixels, flattened, and a linear layer to three outputs.
    pub(crate) fn head(self, input: &str, channels: usize) -> Model {
        self.node("GlobalAveragePool", &[input], &["mean"], &[])
            .node("Flatten", &["mean"], &["flat"], &[int("axis", 1)])
            .gemm("flat", "fc", channels, 3)
            .output("fc")
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from(self.0.encode_to_vec())
    }

    pub(crate) fn document(&self) -> Document {
        Document::decode(self.bytes(), Path::new("test.onnx"), Path::new("")).unwrap()
    }
}

pub(crate) fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    }
}

pub(crate) fn info(name: &str, element: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = |size: &i64| match *size {
        OPEN => Dimension {
            dim_param: Some("batch".to_owned()),
            ..Dimension::default()
        },
        size => Dimension {
            dim_value: Some(size),
            ..Dimension::default()
        },
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: Some(element),
                shape: Some(shape),
            }),
            ..TypeProto::default()
        }),
        doc_string: Some(format!("the value {name}")),
        ..ValueInfoProto::default()
    }
}

/// Random numbers of a size that keeps activations near one.
pub(crate) fn random(name: &str, dims: &[usize]) -> Vec<f32> {
    let mut random = stream(5, name);
    let inner: usize = dims.iter().skip(1).product();
    let scale = 1.0 / (inner.max(1) as f64).sqrt();
    let count = dims.iter().product();
    (0..count)
        .map(|_| (normal(&mut random) * scale) as f32)
        .collect()
}

pub(crate) fn floats(name: &str, dims: &[usize], numbers: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto {
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: Some(1),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(bytes)),
        doc_string: Some(format!("the tensor {name}")),
        ..TensorProto::default()
    }
}

pub(crate) fn whole(name: &str, numbers: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![numbers.len() as i64],
        data_type: Some(7),
        name: Some(name.to_owned()),
        int64_data: numbers.to_vec(),
        ..TensorProto::default()
    }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(kind),
        ..AttributeProto::default()
    }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        i: Some(value),
        ..attribute(name, 2)
    }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        f: Some(value),
        ..attribute(name, 1)
    }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: values.to_vec(),
        ..attribute(name, 7)
    }
}

pub(crate) fn float_list(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto {
        floats: values.to_vec(),
        ..attribute(name, 6)
    }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        s: Some(Bytes::from(value.to_owned().into_bytes())),
        ..attribute(name, 3)
    }
}

pub(crate) fn value(tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        t: Some(tensor),
        ..attribute("value", 4)
    }
}

pub(crate) fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        g: Some(Box::new(graph)),
        ..attribute(name, 5)
    }
}
