//! From a graph to a straight line of kernels: layouts chosen, conversions inserted, nodes fused.

use std::collections::{HashMap, HashSet};

use net2net_kernels::Context;

use super::fused::{Chain, Tail, chains};
use super::kernel::{Backward, Kernel, Mode, Needs, Site};
use super::layout::{Layout, Layouts};
use super::precision::Precision;
use crate::graph::{Graph, NodeId, Shape, Source, ValueId};
use crate::ops::{Op, Role};

/// Where a buffer's numbers live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// In the parameter of this index, in the graph's order of parameters.
    Parameter(usize),
    /// In the caller's input of this index.
    Input(usize),
    /// In planned memory.
    Planned,
}

/// One tensor as the kernels see it.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub(super) shape: Shape,
    pub(super) layout: Layout,
    pub(super) home: Home,
    pub(super) needs_gradient: bool,
}

/// One kernel call.
pub(super) struct Step<T> {
    pub(super) kernel: Box<dyn Kernel<T>>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
    /// Input slots that hold running statistics.
    pub(super) running: Vec<usize>,
}

/// The straight-line form of a graph.
pub(super) struct Lowered<T> {
    pub(super) buffers: Vec<Buffer>,
    pub(super) steps: Vec<Step<T>>,
    /// The row-major buffers of the graph's outputs.
    pub(super) outputs: Vec<usize>,
    /// How each parameter is stored, by its index among the parameters.
    pub(super) parameter_layouts: Vec<Layout>,
}

/// Lowers what the graph's outputs need.
pub(super) fn lower<T: Precision>(graph: &Graph, batch: usize, mode: Mode) -> Lowered<T> {
    let mut lowering = Lowering {
        graph,
        batch,
        mode,
        buffers: Vec::new(),
        steps: Vec::new(),
        of_value: HashMap::new(),
        coefficients: HashMap::new(),
        parameter_index: graph
            .parameters()
            .enumerate()
            .map(|(i, id)| (id, i))
            .collect(),
    };
    lowering.add_inputs();
    let needed = needed_nodes(graph);
    let chains = chains(graph, mode);
    let of_head: HashMap<_, _> = chains.iter().map(|chain| (chain.head, chain)).collect();
    let norms: HashSet<NodeId> = chains.iter().filter_map(|chain| chain.norm).collect();
    let of_place: HashMap<_, _> = chains.iter().map(|chain| (chain.place(), chain)).collect();
    for id in graph.node_ids().filter(|id| needed[id.index()]) {
        if let Some(chain) = of_head.get(&id) {
            lowering.claim(chain);
        }
        if norms.contains(&id) {
            lowering.claim_channels(id);
        }
        if let Some(chain) = of_place.get(&id) {
            lowering.add(chain);
        }
    }
    let outputs = graph
        .outputs()
        .iter()
        .map(|id| {
            let layout = Layout::row_major(graph.get(*id).shape.rank());
            lowering.place(*id, &layout)
        })
        .collect();
    let parameter_layouts = graph
        .parameters()
        .map(|id| match lowering.of_value.get(&id) {
            Some(places) => lowering.buffers[places[0]].layout.clone(),
            None => Layout::row_major(graph.get(id).shape.rank()),
        })
        .collect();
    Lowered {
        buffers: lowering.buffers,
        steps: lowering.steps,
        outputs,
        parameter_layouts,
    }
}

fn needed_nodes(graph: &Graph) -> Vec<bool> {
    let mut wanted: Vec<bool> = vec![false; graph.values().len()];
    for output in graph.outputs() {
        wanted[output.index()] = true;
    }
    let mut needed = vec![false; graph.nodes().len()];
    for id in graph.node_ids().rev() {
        let node = graph.at(id);
        if node.outputs.iter().any(|output| wanted[output.index()]) {
            needed[id.index()] = true;
            for input in &node.inputs {
                wanted[input.index()] = true;
            }
        }
    }
    needed
}

struct Lowering<'a, T> {
    graph: &'a Graph,
    batch: usize,
    mode: Mode,
    buffers: Vec<Buffer>,
    steps: Vec<Step<T>>,
    /// The buffers of a value: the one it is produced in, then its conversions.
    of_value: HashMap<ValueId, Vec<usize>>,
    /// The coefficients by which the readers of values normalise them.
    coefficients: HashMap<ValueId, usize>,
    parameter_index: HashMap<ValueId, usize>,
}

impl<T: Precision> Lowering<'_, T> {
    fn add_inputs(&mut self) {
        for (index, id) in self.graph.inputs().iter().enumerate() {
            let shape = self.graph.get(*id).shape.clone();
            let layout = Layout::channels_last(shape.rank());
            self.add_buffer(*id, shape, layout, Home::Input(index), false);
        }
    }

    fn add_buffer(
        &mut self,
        value: ValueId,
        shape: Shape,
        layout: Layout,
        home: Home,
        needs_gradient: bool,
    ) -> usize {
        self.buffers.push(Buffer {
            shape,
            layout,
            home,
            needs_gradient,
        });
        let buffer = self.buffers.len() - 1;
        self.of_value.entry(value).or_default().push(buffer);
        buffer
    }

    /// The layouts of a chain's head.
    fn layouts(&self, chain: &Chain) -> Layouts {
        let node = self.graph.at(chain.head);
        let incoming: Vec<Layout> = node
            .inputs
            .iter()
            .map(|v| self.current_layout(*v))
            .collect();
        let results = &self.graph.at(chain.last()).outputs;
        let (inputs, outputs) = (self.graph.shapes(&node.inputs), self.graph.shapes(results));
        node.op.layouts(&incoming, &inputs, &outputs)
    }

    /// Gives a head's parameters their layouts in its place in the graph, wherever it is computed:
    /// programs of one graph agree on them.
    fn claim(&mut self, chain: &Chain) {
        let node = self.graph.at(chain.head);
        let layouts = self.layouts(chain);
        for (slot, (value, layout)) in node.inputs.iter().zip(&layouts.inputs).enumerate() {
            if self.graph.is_parameter(*value) && !self.of_value.contains_key(value) {
                self.place_input(*value, layout, node.op.role(slot).is_trained());
            }
        }
    }

    /// The same for a normalisation that is computed with a convolution.
    fn claim_channels(&mut self, norm: NodeId) {
        let node = self.graph.at(norm);
        for (slot, value) in node.inputs.iter().enumerate().skip(1) {
            if self.graph.is_parameter(*value) && !self.of_value.contains_key(value) {
                self.place_input(
                    *value,
                    &Layout::row_major(1),
                    node.op.role(slot).is_trained(),
                );
            }
        }
    }

    fn add(&mut self, chain: &Chain) {
        let graph = self.graph;
        let node = graph.at(chain.head);
        let results = &graph.at(chain.last()).outputs;
        let (input_shapes, output_shapes) = (graph.shapes(&node.inputs), graph.shapes(results));
        let layouts = self.layouts(chain);
        let mut reads: Vec<(ValueId, Layout, Role)> = Vec::with_capacity(node.inputs.len());
        for (slot, (value, layout)) in node.inputs.iter().zip(layouts.inputs).enumerate() {
            reads.push((*value, layout, node.op.role(slot)));
        }
        if let Some(norm) = chain.norm.map(|norm| graph.at(norm)) {
            for (slot, value) in norm.inputs.iter().enumerate().skip(1) {
                reads.push((*value, Layout::row_major(1), norm.op.role(slot)));
            }
        }
        if let Some(residual) = chain.residual() {
            reads.push((residual, layouts.outputs[0].clone(), Role::Activation));
        }
        let mut inputs = Vec::with_capacity(reads.len());
        let mut running = Vec::new();
        for (slot, (value, layout, role)) in reads.iter().enumerate() {
            if graph.is_parameter(*value) && role.is_running() {
                running.push(slot);
            }
            let buffer = self.place_input(*value, layout, role.is_trained());
            let repeated = inputs.contains(&buffer) && self.buffers[buffer].needs_gradient;
            inputs.push(if repeated {
                self.copy(*value, buffer)
            } else {
                buffer
            });
        }
        if chain.before.is_some() {
            inputs.extend(self.coefficients.get(&node.inputs[0]));
        }
        let sizes = |shapes: &[&Shape]| shapes.iter().map(|s| s.at(self.batch)).collect();
        let (input_sizes, output_sizes): (Vec<_>, Vec<_>) =
            (sizes(&input_shapes), sizes(&output_shapes));
        let site = Site {
            inputs: &input_sizes,
            outputs: &output_sizes,
            output_layouts: &layouts.outputs,
            mode: self.mode,
        };
        let norm = chain.norm.map(|norm| &graph.at(norm).op);
        let kernel = match (&node.op, norm, chain.tail()) {
            (op, None, tail) if tail == Tail::default() => T::kernel(op, &site),
            (Op::BatchNorm(norm), _, tail) => T::finished_norm(norm, tail, &site),
            (Op::Conv(conv), Some(Op::BatchNorm(norm)), tail) => {
                T::finished_conv(conv, Some(norm), tail, chain.before, &site)
            }
            (Op::Conv(conv), _, tail) => T::finished_conv(conv, None, tail, None, &site),
            (op, ..) => T::kernel(op, &site),
        };
        let needs_gradient = inputs.iter().any(|b| self.buffers[*b].needs_gradient);
        let mut outputs: Vec<usize> = results
            .iter()
            .zip(&layouts.outputs)
            .map(|(value, layout)| {
                let shape = graph.get(*value).shape.clone();
                self.add_buffer(*value, shape, layout.clone(), Home::Planned, needs_gradient)
            })
            .collect();
        for value in chain
            .kept(self.mode)
            .iter()
            .flat_map(|id| &graph.at(*id).outputs)
        {
            let (shape, layout) = (graph.get(*value).shape.clone(), layouts.outputs[0].clone());
            outputs.push(self.add_buffer(*value, shape, layout, Home::Planned, false));
        }
        if chain.tail().deferred {
            outputs.push(self.add_coefficients(results[0], needs_gradient));
        }
        self.steps.push(Step {
            kernel,
            inputs,
            outputs,
            running,
        });
    }

    /// Three numbers for each channel of a value.
    fn add_coefficients(&mut self, value: ValueId, needs_gradient: bool) -> usize {
        let channels = self.graph.get(value).shape.at(self.batch)[1];
        self.buffers.push(Buffer {
            shape: Shape::fixed(&[3 * channels]),
            layout: Layout::row_major(1),
            home: Home::Planned,
            needs_gradient,
        });
        let buffer = self.buffers.len() - 1;
        self.coefficients.insert(value, buffer);
        buffer
    }

    fn current_layout(&self, value: ValueId) -> Layout {
        match self.of_value.get(&value) {
            Some(places) => self.buffers[places[0]].layout.clone(),
            None => Layout::row_major(self.graph.get(value).shape.rank()),
        }
    }

    /// A parameter takes the layout that its first reader wants.
    fn place_input(&mut self, value: ValueId, layout: &Layout, trained: bool) -> usize {
        if !self.of_value.contains_key(&value)
            && let Source::Parameter = self.graph.get(value).source
        {
            let shape = self.graph.get(value).shape.clone();
            let home = Home::Parameter(self.parameter_index[&value]);
            let needs_gradient = trained && self.mode == Mode::Train;
            return self.add_buffer(value, shape, layout.clone(), home, needs_gradient);
        }
        self.place(value, layout)
    }

    /// The buffer of a value in a layout, converted if there is none yet.
    fn place(&mut self, value: ValueId, layout: &Layout) -> usize {
        if !self.of_value.contains_key(&value) {
            // A parameter that is a graph output itself.
            return self.place_input(value, layout, true);
        }
        let shape = &self.graph.get(value).shape;
        let places = &self.of_value[&value];
        let found = places
            .iter()
            .find(|b| self.buffers[**b].layout.same_order(layout, shape));
        match found {
            Some(buffer) => *buffer,
            None => self.convert(value, places[0], layout.clone()),
        }
    }

    /// A second buffer of the same numbers, so that each reader has its own gradient to write.
    fn copy(&mut self, value: ValueId, from: usize) -> usize {
        let layout = self.buffers[from].layout.clone();
        self.convert(value, from, layout)
    }

    fn convert(&mut self, value: ValueId, from: usize, layout: Layout) -> usize {
        let Buffer {
            shape,
            layout: source,
            needs_gradient,
            ..
        } = self.buffers[from].clone();
        let kernel = Permute {
            sizes: source.apply(&shape.at(self.batch)),
            forward: source.permutation_to(&layout),
            converted: layout.apply(&shape.at(self.batch)),
            backward: layout.permutation_to(&source),
        };
        let to = self.add_buffer(value, shape, layout, Home::Planned, needs_gradient);
        self.steps.push(Step {
            kernel: Box::new(kernel),
            inputs: vec![from],
            outputs: vec![to],
            running: Vec::new(),
        });
        to
    }
}

/// Stores the same tensor in another order.
struct Permute {
    sizes: Vec<usize>,
    forward: Vec<usize>,
    converted: Vec<usize>,
    backward: Vec<usize>,
}

impl<T: Precision> Kernel<T> for Permute {
    fn needs(&self) -> Needs {
        Needs {
            inputs: false,
            outputs: false,
        }
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        T::transpose(cx, inputs[0], &self.sizes, &self.forward, outputs[0], false);
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let dy = pass.output_gradients[0];
        if let Some(dx) = &mut pass.input_gradients[0] {
            let (sizes, order) = (&self.converted, &self.backward);
            T::transpose(cx, dy, sizes, order, dx.data, dx.accumulate);
        }
    }
}
