//! Parameters and their gradients in the engine's own layouts.

use net2net_kernels::Context;

use super::layout::Layout;
use super::precision::Precision;
use crate::graph::Graph;
use crate::ops::Role;
use crate::weights::{Tensor, Weights, WeightsError};

/// One parameter: its numbers are stored in `layout`.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) role: Role,
    sizes: Vec<usize>,
    layout: Layout,
}

/// All parameters of a graph, and room for their gradients.
#[derive(Debug)]
pub struct Parameters<T> {
    pub(super) info: Vec<Parameter>,
    pub(super) values: Vec<Vec<T>>,
    pub(super) gradients: Vec<Vec<T>>,
}

impl<T: Precision> Parameters<T> {
    /// Takes weights in; `with_gradients` only where a backward pass will be run.
    pub(super) fn new(
        cx: &mut Context<T>,
        graph: &Graph,
        layouts: &[Layout],
        weights: &Weights<T>,
        with_gradients: bool,
    ) -> Result<Self, WeightsError> {
        let roles = graph.parameter_roles();
        let info: Vec<Parameter> = graph
            .parameters()
            .zip(layouts)
            .map(|(id, layout)| Parameter {
                name: graph.get(id).name.clone(),
                role: roles.get(&id).copied().unwrap_or(Role::Activation),
                sizes: graph.get(id).shape.at(1),
                layout: layout.clone(),
            })
            .collect();
        let mut parameters = Parameters {
            info,
            values: Vec::new(),
            gradients: Vec::new(),
        };
        parameters.values = parameters.store(cx, weights)?;
        if with_gradients {
            let zeros = |v: &Vec<T>| vec![T::zero(); v.len()];
            parameters.gradients = parameters.values.iter().map(zeros).collect();
        }
        Ok(parameters)
    }

    /// Tensors by name in the engine's order and layouts.
    pub(super) fn store(
        &self,
        cx: &mut Context<T>,
        weights: &Weights<T>,
    ) -> Result<Vec<Vec<T>>, WeightsError> {
        let mut stored = Vec::with_capacity(self.info.len());
        for info in &self.info {
            let tensor = weights.require(&info.name)?;
            if tensor.shape() != info.sizes {
                return Err(WeightsError::Shape {
                    name: info.name.clone(),
                    found: tensor.shape().to_vec(),
                    expected: info.sizes.clone(),
                });
            }
            let order = Layout::row_major(info.sizes.len()).permutation_to(&info.layout);
            let mut data = vec![T::zero(); tensor.data().len()];
            T::transpose(cx, tensor.data(), &info.sizes, &order, &mut data, false);
            stored.push(data);
        }
        Ok(stored)
    }

    /// The engine's data of all parameters as tensors by name.
    pub(super) fn load(&self, cx: &mut Context<T>, stored: &[Vec<T>]) -> Weights<T> {
        let mut weights = Weights::default();
        for (info, data) in self.info.iter().zip(stored) {
            let sizes = info.layout.apply(&info.sizes);
            let order = info.layout.permutation_to(&Layout::row_major(sizes.len()));
            let mut tensor = Tensor::full(&info.sizes, T::zero());
            T::transpose(cx, data, &sizes, &order, tensor.data_mut(), false);
            weights.insert(info.name.clone(), tensor);
        }
        weights
    }
}
