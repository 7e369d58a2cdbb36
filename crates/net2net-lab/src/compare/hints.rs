//! The networks of hint training (FitNets, Romero et al. 2015).

use std::collections::BTreeMap;

use net2net_core::graph::{Extent, Graph, GraphError, Shape, ValueId};
use net2net_core::ops::{Conv, Gemm, Relu, Window};
use net2net_core::plan::is_rectified;

use super::CompareError;
use super::baseline::Hints;

/// The teacher's hint layer, and the student up to its guided layer with the regressor on top.
pub(super) struct HintNetworks {
    /// The teacher with the hint as its output.
    pub(super) teacher: Graph,
    /// The student's part; parameters keep the student's names.
    pub(super) student: Graph,
}

impl Hints {
    /// Builds both networks for a growth.
    pub(super) fn networks(
        &self,
        teacher: &Graph,
        student: &Graph,
        growth: &str,
    ) -> Result<HintNetworks, CompareError> {
        let built = networks(
            teacher,
            student,
            self.hint.as_deref(),
            self.guided.as_deref(),
        );
        built.map_err(|error| CompareError::Hint {
            why: match error {
                CompareError::Hint { why } => format!("growth `{growth}`: {why}"),
                error => format!("growth `{growth}`: {error}"),
            },
        })
    }
}

/// Builds both networks; without names, the hint is the teacher's middle bottleneck and the guided
/// value the student's one of the same name.
fn networks(
    teacher: &Graph,
    student: &Graph,
    hint: Option<&str>,
    guided: Option<&str>,
) -> Result<HintNetworks, CompareError> {
    let hint = match hint {
        Some(name) => teacher.find(name)?,
        None => middle(teacher).ok_or_else(|| CompareError::Hint {
            why:
                "the teacher has no inner value through which everything flows; name one as `hint`"
                    .to_owned(),
        })?,
    };
    let name = &teacher.get(hint).name;
    let guided = student.find(guided.unwrap_or(name))?;
    let (wanted, found) = (&teacher.get(hint).shape, &student.get(guided).shape);
    if wanted.rank() != found.rank() || wanted.extents()[2..] != found.extents()[2..] {
        return Err(CompareError::Hint {
            why: format!(
                "the hint `{name}` {wanted} and the guided `{}` {found} differ in more than their \
                 channels; name layers of one size as `hint` and `guided`",
                student.get(guided).name
            ),
        });
    }
    // A regressor ends in the same way as the hint.
    let rectified = is_rectified(teacher, hint);
    Ok(HintNetworks {
        teacher: part(teacher, hint)?.0,
        student: with_regressor(student, guided, wanted, rectified)?,
    })
}

/// The middle one, by position among the nodes, of the values of channels that every path from the
/// input to the output runs through.
fn middle(graph: &Graph) -> Option<ValueId> {
    let consumers = graph.consumers();
    let nodes: Vec<_> = graph.node_ids().collect();
    // The last node that reads what the nodes so far have made, apart from the newest value.
    let mut open = graph
        .inputs()
        .iter()
        .flat_map(|id| &consumers[id.index()])
        .max()
        .copied();
    let mut bottlenecks = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let crossed = open.is_some_and(|reader| reader > *node);
        let outputs = &graph.at(*node).outputs;
        if let ([value], false) = (&outputs[..], crossed)
            && graph.get(*value).shape.rank() >= 2
            && !matches!(
                graph.at(*node).op.name(),
                "Conv" | "Gemm" | "BatchNormalization" | "Flatten"
            )
        {
            bottlenecks.push((at, *value));
        }
        let readers = outputs.iter().flat_map(|id| &consumers[id.index()]);
        open = open.max(readers.max().copied());
    }
    // What is pooled to one place is the features, not the middle.
    let inner = |value: &ValueId| {
        let extents = graph.get(*value).shape.extents();
        extents.len() == 2
            || extents[2..]
                .iter()
                .any(|extent| *extent != Extent::Fixed(1))
    };
    let inner = bottlenecks.into_iter().filter(|(_, value)| inner(value));
    inner
        .min_by_key(|(at, _)| (2 * at + 1).abs_diff(nodes.len()))
        .map(|(_, value)| value)
}

/// What a value needs of a graph, with the value as the output; and its id there.
fn part(graph: &Graph, output: ValueId) -> Result<(Graph, ValueId), GraphError> {
    let mut needed = vec![false; graph.values().len()];
    needed[output.index()] = true;
    for node in graph.node_ids().rev() {
        let node = graph.at(node);
        if node.outputs.iter().any(|id| needed[id.index()]) {
            for id in node.inputs.iter().chain(&node.outputs) {
                needed[id.index()] = true;
            }
        }
    }
    let mut part = Graph::new(graph.name());
    let mut moved: BTreeMap<usize, ValueId> = BTreeMap::new();
    for id in graph.value_ids().filter(|id| needed[id.index()]) {
        let value = graph.get(id);
        if graph.is_parameter(id) {
            let new = part.parameter(value.name.clone(), &value.shape.at(1))?;
            moved.insert(id.index(), new);
        } else if graph.inputs().contains(&id) {
            moved.insert(
                id.index(),
                part.input(value.name.clone(), value.shape.clone())?,
            );
        } else if let Some(node) = graph.producer(id)
            && graph.at(node).outputs[0] == id
        {
            let node = graph.at(node);
            let inputs: Vec<ValueId> = node.inputs.iter().map(|id| moved[&id.index()]).collect();
            let names = node.outputs.iter().map(|id| graph.get(*id).name.clone());
            let names: Vec<String> = names.collect();
            let outputs = part.node_with_outputs(&names, node.op.clone(), &inputs)?;
            moved.extend(node.outputs.iter().map(|id| id.index()).zip(outputs));
        }
    }
    let output = moved[&output.index()];
    part.output(output);
    Ok((part, output))
}

fn with_regressor(
    student: &Graph,
    guided: ValueId,
    hint: &Shape,
    rectified: bool,
) -> Result<Graph, GraphError> {
    let (mut graph, x) = part(student, guided)?;
    let (from, to) = (graph.get(x).shape.at(1)[1], hint.at(1)[1]);
    let bias = "hint.regressor.bias";
    let mut y = match hint.rank() {
        2 => {
            let weight = graph.parameter("hint.regressor.weight", &[to, from])?;
            let bias = graph.parameter(bias, &[to])?;
            graph.node("hint.regressor", Gemm::default(), &[x, weight, bias])?
        }
        rank => {
            let mut sizes = vec![1; rank];
            (sizes[0], sizes[1]) = (to, from);
            let weight = graph.parameter("hint.regressor.weight", &sizes)?;
            let bias = graph.parameter(bias, &[to])?;
            let window = Window::same([1, 1]);
            graph.node("hint.regressor", Conv::new(window), &[x, weight, bias])?
        }
    };
    if rectified {
        y = graph.node("hint.rectified", Relu, &[y])?;
    }
    Ok(graph.with_outputs(&[y]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::models::{Family, ModelSpec};

    const IMAGES: ImageShape = ImageShape {
        height: 16,
        width: 16,
        channels: 1,
    };

    fn network(family: Family, width: f64) -> Graph {
        let spec = ModelSpec {
            family,
            width,
            depth: 2,
        };
        spec.build(IMAGES, 10).unwrap()
    }

    #[test]
    fn the_hint_is_in_the_middle_and_the_regressor_has_its_shape() {
        for (family, expected) in [
            (Family::Inception, "stage1.module2.concat"),
            (Family::ConvNet, "stage2.unit2.relu"),
            (Family::Residual, "stage2.block1.relu"),
            (Family::Mlp, "hidden1.relu"),
        ] {
            let (small, large) = (network(family, 0.5), network(family, 1.0));
            let made = networks(&small, &large, None, None).unwrap();
            let name = &made.teacher.get(made.teacher.outputs()[0]).name;
            assert_eq!(name, expected, "{family:?}");
            let shape = |graph: &Graph| graph.get(graph.outputs()[0]).shape.clone();
            assert_eq!(shape(&made.student), shape(&made.teacher));
            assert!(made.student.validate().is_ok());
            for id in made.student.parameters() {
                let value = made.student.get(id);
                match large.lookup(&value.name) {
                    Some(own) => assert_eq!(large.get(own).shape, value.shape),
                    None => assert!(value.name.starts_with("hint.regressor")),
                }
            }
        }
    }

    #[test]
    fn layers_of_different_sizes_are_refused() {
        let (small, large) = (network(Family::ConvNet, 0.5), network(Family::ConvNet, 1.0));
        let wrong = networks(
            &small,
            &large,
            Some("stage1.unit1.relu"),
            Some("stage2.unit1.relu"),
        );
        let error = wrong.err().unwrap().to_string();
        assert!(error.contains("`stage1.unit1.relu`"), "{error}");
        assert!(networks(&small, &large, Some("nothing"), None).is_err());
    }
}
