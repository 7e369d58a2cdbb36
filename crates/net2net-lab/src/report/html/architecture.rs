//! Both architectures, layer beside layer.

use super::element;
use crate::report::format::{NONE, counted, grouped, si, times};
use crate::report::record::{Architecture, GrowthRecord, LayerRow};

/// With more layers than this the table starts folded.
const OPEN_LAYERS: usize = 24;

/// What growth did to a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Same,
    Changed,
    New,
    Gone,
}

impl Change {
    const fn class(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }

    const fn mark(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Changed => "● changed",
            Self::New => "+ new",
            Self::Gone => "− gone",
        }
    }
}

/// A layer before and after; at least one of the two is there.
struct Pair<'a> {
    before: Option<&'a LayerRow>,
    after: Option<&'a LayerRow>,
}

impl Pair<'_> {
    fn change(&self) -> Change {
        match (self.before, self.after) {
            (Some(before), Some(after)) if before == after => Change::Same,
            (Some(_), Some(_)) => Change::Changed,
            (None, _) => Change::New,
            (_, None) => Change::Gone,
        }
    }
}

/// The table of layers, with the changed ones marked.
pub fn part(teacher: &Architecture, growth: &GrowthRecord) -> String {
    let pairs = pair(&teacher.layers, &growth.student.layers);
    let count = |change: Change| pairs.iter().filter(|pair| pair.change() == change).count();
    let summary = format!(
        "{} before, {} after: {} changed, {} new",
        counted(teacher.layers.len(), "layer"),
        growth.student.layers.len(),
        count(Change::Changed),
        count(Change::New),
    );
    let rows: String = pairs.iter().map(row).collect();
    let head: String = [
        "Layer",
        "Operator",
        "Output before",
        "after",
        "Parameters before",
        "after",
        "Change",
    ]
    .map(|name| format!("<th scope=\"col\">{name}</th>"))
    .concat();
    let inner = format!(
        "<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n<tfoot>\n{}</tfoot>",
        totals(teacher, &growth.student)
    );
    let label = format!("Layers before and after {} growth", growth.name);
    let table = element::scroll(&inner, &label);
    format!(
        "<h3>Architecture</h3>\n{}",
        element::details(
            &summary,
            &format!("<div class=\"layers\">{table}</div>"),
            pairs.len() <= OPEN_LAYERS
        )
    )
}

/// Layers of the same name side by side, in the student's order; a layer that is gone stands where it was.
fn pair<'a>(before: &'a [LayerRow], after: &'a [LayerRow]) -> Vec<Pair<'a>> {
    let kept = |row: &LayerRow| after.iter().any(|other| other.name == row.name);
    let mut waiting = before.iter().peekable();
    let mut pairs = Vec::with_capacity(after.len());
    for new in after {
        let old = before.iter().find(|row| row.name == new.name);
        if old.is_some() {
            while let Some(gone) = waiting.next_if(|row| !kept(row)) {
                pairs.push(Pair {
                    before: Some(gone),
                    after: None,
                });
            }
            waiting.next();
        }
        pairs.push(Pair {
            before: old,
            after: Some(new),
        });
    }
    pairs.extend(waiting.filter(|row| !kept(row)).map(|gone| Pair {
        before: Some(gone),
        after: None,
    }));
    pairs
}

fn row(pair: &Pair<'_>) -> String {
    let change = pair.change();
    let text = |of: fn(&LayerRow) -> &str| both(pair.before.map(of), pair.after.map(of));
    let side =
        |row: Option<&LayerRow>, of: fn(&LayerRow) -> String| row.map_or(NONE.to_owned(), of);
    let cells = [
        text(|row| &row.name),
        text(|row| &row.operator),
        side(pair.before, |row| row.output_shape.clone()),
        side(pair.after, |row| row.output_shape.clone()),
        side(pair.before, |row| grouped(row.parameters)),
        side(pair.after, |row| grouped(row.parameters)),
        mark(pair, change),
    ];
    format!(
        "<tr class=\"{}\">{}</tr>\n",
        change.class(),
        element::cells(&cells)
    )
}

/// The change, with how many times the parameters there are.
fn mark(pair: &Pair<'_>, change: Change) -> String {
    let mark = change.mark();
    match (pair.before, pair.after) {
        (Some(before), Some(after))
            if before.parameters > 0 && before.parameters < after.parameters =>
        {
            let ratio = after.parameters as f64 / before.parameters as f64;
            format!("{mark}, {}", times(ratio))
        }
        _ => mark.to_owned(),
    }
}

/// One text if both sides agree.
fn both(before: Option<&str>, after: Option<&str>) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before != after => format!("{before} → {after}"),
        (before, after) => after.or(before).unwrap_or(NONE).to_owned(),
    }
}

fn totals(before: &Architecture, after: &Architecture) -> String {
    let total = |name: &str, before: String, after: String| {
        let empty = String::new;
        let cells = [
            name.to_owned(),
            empty(),
            empty(),
            empty(),
            before,
            after,
            empty(),
        ];
        format!("<tr>{}</tr>\n", element::cells(&cells))
    };
    let flops = |of: &Architecture| si(of.flops_per_sample as f64);
    total(
        "All parameters",
        grouped(before.parameters),
        grouped(after.parameters),
    ) + &total("FLOPs per sample, forward", flops(before), flops(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, parameters: u64) -> LayerRow {
        LayerRow {
            name: name.into(),
            operator: "conv".into(),
            output_shape: "8x8".into(),
            parameters,
        }
    }

    #[test]
    fn layers_are_paired_by_name() {
        let before = [layer("a", 1), layer("b", 2), layer("c", 3)];
        let after = [layer("a", 1), layer("new", 9), layer("c", 6)];
        let marks: Vec<(&str, Change)> = pair(&before, &after)
            .iter()
            .map(|pair| {
                (
                    pair.after
                        .or(pair.before)
                        .map_or("", |row| row.name.as_str()),
                    pair.change(),
                )
            })
            .collect();
        let expected = [
            ("a", Change::Same),
            ("new", Change::New),
            ("b", Change::Gone),
            ("c", Change::Changed),
        ];
        assert_eq!(marks, expected);
    }
}
