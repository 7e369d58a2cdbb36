//! `net2net inspect`.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use net2net_core::dims::{Refusal, Space, Spaces};
use net2net_core::graph::Graph;
use net2net_core::plan::{Fill, blocks, deepenable, fill};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::compare::Exit;
use crate::model::{Model, count};
use crate::output::say;

/// Shows a model.
pub(crate) fn inspect(args: &InspectArgs) -> Result<Exit> {
    let model = Model::open(&args.model)?;
    let graph = &model.graph;
    let spaces = Spaces::infer(graph);
    if args.json {
        say!(
            "{}",
            serde_json::to_string_pretty(&as_json(&model, &spaces))?
        );
        return Ok(Exit::Done);
    }
    say!("{}", layers(graph));
    say!("{}", widths(graph, &spaces, args.all));
    for node in model.opaque() {
        say!(
            "not understood, stays as it is: `{}` ({}): {}",
            node.node,
            node.operator,
            node.why
        );
    }
    let (all, touched) = shares(graph, &spaces);
    say!(
        "{} nodes, {} parameters, {} operations a sample; {} spaces can grow, and touch {:.0} % of \
         the parameters; {} layers can be deepened{}",
        graph.nodes().len(),
        count(all),
        count(graph.flops()),
        spaces.growable().count(),
        100.0 * touched as f64 / all.max(1) as f64,
        deepenable(graph).len(),
        copyable(graph)
    );
    Ok(Exit::Done)
}

/// The residual blocks that `--copy` can name.
fn copyable(graph: &Graph) -> String {
    let names: Vec<String> = blocks(graph).into_iter().map(|block| block.name).collect();
    match names.len() {
        0 => String::new(),
        1..=12 => format!(", and these residual blocks copied: {}", names.join(", ")),
        n => format!(
            ", and {n} residual blocks copied: {}, …, {}",
            names[..6].join(", "),
            names[n - 1]
        ),
    }
}

/// The numbers of parameters in all, and of those that a growable space touches.
fn shares(graph: &Graph, spaces: &Spaces) -> (u64, u64) {
    let mut touched: Vec<_> = spaces
        .growable()
        .flat_map(|space| space.sites.iter().map(|site| site.parameter))
        .collect();
    touched.sort_unstable();
    touched.dedup();
    let elements = |id: &net2net_core::graph::ValueId| graph.get(*id).shape.elements(1) as u64;
    (graph.parameter_count(), touched.iter().map(elements).sum())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_header(header);
    table
}

fn layers(graph: &Graph) -> Table {
    let mut table = table(&["Layer", "Operator", "Output", "Parameters", "Operations"]);
    for id in graph.node_ids() {
        let node = graph.at(id);
        let own = node
            .inputs
            .iter()
            .filter(|input| graph.is_parameter(**input));
        let parameters: u64 = own.map(|id| graph.get(*id).shape.elements(1) as u64).sum();
        if parameters == 0 {
            continue;
        }
        table.add_row([
            graph.node_name(id).to_owned(),
            node.op.name().to_owned(),
            graph.get(node.outputs[0]).shape.to_string(),
            count(parameters),
            count(graph.node_flops(node)),
        ]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Spaces that are a part of a parameter; pixels and the like are none of anybody's business.
fn shown(spaces: &Spaces, all: bool) -> impl Iterator<Item = &Space> {
    let wanted = move |space: &&Space| {
        !space.sites.is_empty() && (all || space.refusal.is_none() || space.counted)
    };
    spaces.all().iter().filter(wanted)
}

fn widths(graph: &Graph, spaces: &Spaces, all: bool) -> Table {
    let mut table = table(&["Space", "Size", "Made by", "Sites", "Growth"]);
    for space in shown(spaces, all) {
        let aliases = spaces.aliases(graph, space);
        let made_by = match &aliases[..] {
            [] => String::new(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        };
        table.add_row([
            space.name.clone(),
            space.size.to_string(),
            made_by,
            space.sites.len().to_string(),
            growth(graph, spaces, space),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn growth(graph: &Graph, spaces: &Spaces, space: &Space) -> String {
    match (&space.refusal, padding(graph, spaces, space)) {
        (Some(_), Some(_)) => "to any size, the new units without effect".to_owned(),
        (Some(refusal), None) => format!("no: {}", refusal.why),
        (None, Some(Ok(_))) => {
            "to multiples by copies, to any size without effect at first".to_owned()
        }
        (None, Some(Err(refusal))) => {
            let at = refusal
                .node
                .map_or(String::new(), |node| format!(" at `{node}`"));
            format!("to multiples of its size: {}{at}", refusal.why)
        }
        (None, None) => "to any size".to_owned(),
    }
}

/// With what a space that is normalised over can be padded, or why it cannot; `None` for others.
fn padding(graph: &Graph, spaces: &Spaces, space: &Space) -> Option<Result<Fill, Refusal>> {
    let id = spaces.position(&space.name).filter(|_| space.uniform)?;
    match &space.refusal {
        None => Some(fill(graph, spaces, id)),
        Some(_) if space.counted => fill(graph, spaces, id).ok().map(Ok),
        Some(_) => None,
    }
}

fn as_json(model: &Model, spaces: &Spaces) -> Value {
    let graph = &model.graph;
    let site = |site: &net2net_core::dims::SpaceSite| json!({ "parameter": graph.get(site.parameter).name, "axis": site.axis });
    let spaces_json: Vec<Value> = shown(spaces, true)
        .map(|space| {
            json!({
                "name": space.name,
                "size": space.size.fixed(),
                "made_by": spaces.aliases(graph, space),
                "uniform": space.uniform,
                "pad": padding(graph, spaces, space).and_then(Result::ok),
                "refusal": space.refusal,
                "sites": space.sites.iter().map(site).collect::<Vec<_>>(),
            })
        })
        .collect();
    let nodes: Vec<Value> = graph
        .node_ids()
        .map(|id| {
            let node = graph.at(id);
            json!({
                "name": graph.node_name(id),
                "operator": node.op.name(),
                "output": graph.get(node.outputs[0]).shape.to_string(),
                "flops": graph.node_flops(node),
            })
        })
        .collect();
    let opaque: Vec<Value> = model
        .opaque()
        .iter()
        .map(|node| json!({ "node": node.node, "operator": node.operator, "why": node.why }))
        .collect();
    let (all, touched) = shares(graph, spaces);
    json!({
        "parameters": all,
        "parameters_in_growable_spaces": touched,
        "flops": graph.flops(),
        "nodes": nodes,
        "spaces": spaces_json,
        "deepenable": deepenable(graph),
        "blocks": blocks(graph).into_iter().map(|block| block.name).collect::<Vec<_>>(),
        "not_understood": opaque,
    })
}
