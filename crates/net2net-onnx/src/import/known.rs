//! Tensors whose numbers are read while the graph is built: constants, shapes, indices.

use super::builder::Builder;
use crate::fold::{Known, MAX_NUMBERS, MAX_RANK};
use crate::proto::NodeProto;
use crate::tensor;

impl<'a> Builder<'a> {
    pub(super) fn constant(&self, node: &NodeProto) -> Option<Known> {
        let [attribute] = &node.attribute[..] else {
            return None;
        };
        let floats = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        match attribute.name() {
            "value" => self.small(attribute.t.as_ref()?, true),
            "value_int" => Known::new(vec![], vec![attribute.i() as f64], true),
            "value_float" => Known::new(vec![], vec![f64::from(attribute.f())], false),
            "value_ints" => {
                let numbers: Vec<f64> = attribute.ints.iter().map(|i| *i as f64).collect();
                Known::new(vec![numbers.len()], numbers, true)
            }
            "value_floats" => {
                let numbers = floats(&attribute.floats);
                Known::new(vec![numbers.len()], numbers, false)
            }
            _ => None,
        }
    }

    /// A tensor of few numbers; real ones only if `reals` are wanted.
    pub(super) fn small(&self, tensor: &crate::proto::TensorProto, reals: bool) -> Option<Known> {
        let dtype = tensor::dtype(tensor).ok()?;
        let (sizes, count) = tensor::sizes(tensor).ok()?;
        if sizes.len() > MAX_RANK || count > MAX_NUMBERS || (dtype.is_real() && !reals) {
            return None;
        }
        let numbers = tensor::reals(tensor, &self.document.external).ok()?;
        Known::new(sizes, numbers, !dtype.is_real())
    }

    /// Reads an initialiser of whole numbers, or a single real one, as known; `reals` of any number
    /// if they are wanted.
    pub(super) fn learn(&mut self, name: &'a str, reals: bool) {
        if self.known.contains_key(name) {
            return;
        }
        let Some(index) = self.initializers.get(name) else {
            return;
        };
        let tensor = &self.document.graph().initializer[*index];
        let single = tensor.dims.iter().all(|dim| *dim == 1);
        if let Some(known) = self.small(tensor, single || reals) {
            self.known.insert(name, known);
        }
    }

    /// The numbers of an input that must be known, `None` if it is left out.
    pub(super) fn numbers(&self, node: &NodeProto, input: usize) -> Result<Option<Known>, String> {
        let Some(name) = node.input.get(input).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        if let Some(known) = self.known.get(name.as_str()) {
            return Ok(Some(known.clone()));
        }
        let index = self.initializers.get(name.as_str());
        let tensor = index.and_then(|index| self.document.graph().initializer.get(*index));
        let small = tensor.and_then(|tensor| self.small(tensor, true));
        small
            .map(Some)
            .ok_or_else(|| format!("its input `{name}` is computed from data"))
    }
}
