//! ONNX models of any size, made up node by node.

use net2net_onnx::Document;
use net2net_onnx::document::External;
use net2net_onnx::proto::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
};

/// A model that is being written.
pub(super) struct Synthetic {
    pub(super) graph: GraphProto,
}

impl Synthetic {
    /// A model with one input `x` and one output `y`; the first axis is open.
    pub(super) fn new(input: &[i64], output: &[i64]) -> Self {
        Synthetic {
            graph: GraphProto {
                name: Some("synthetic".to_owned()),
                input: vec![value("x", input)],
                output: vec![value("y", output)],
                ..GraphProto::default()
            },
        }
    }

    /// A node with one output, which is its name.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], output: &str) {
        self.graph.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(format!("/{output}")),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }

    /// A whole number as an attribute of the last node.
    pub(super) fn attribute(&mut self, name: &str, i: i64) {
        if let Some(node) = self.graph.node.last_mut() {
            node.attribute.push(AttributeProto {
                name: Some(name.to_owned()),
                r#type: Some(2),
                i: Some(i),
                ..AttributeProto::default()
            });
        }
    }

    /// An initialiser of one number throughout.
    pub(super) fn full(&mut self, name: &str, dims: &[i64], x: f32) {
        let count: i64 = dims.iter().product();
        let bytes: Vec<u8> = (0..count).flat_map(|_| x.to_le_bytes()).collect();
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(1),
            raw_data: Some(bytes.into()),
            ..TensorProto::default()
        });
    }

    /// The whole model.
    pub(super) fn document(self) -> Document {
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto {
                domain: None,
                version: Some(17),
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        Document {
            model,
            external: External::default(),
        }
    }
}

fn value(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let open = Dimension {
        dim_param: Some("N".to_owned()),
        ..Dimension::default()
    };
    let fixed = |size: &i64| Dimension {
        dim_value: Some(*size),
        ..Dimension::default()
    };
    let dims = std::iter::once(open).chain(sizes.iter().map(fixed));
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorType {
                elem_type: Some(1),
                shape: Some(TensorShapeProto {
                    dim: dims.collect(),
                }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
