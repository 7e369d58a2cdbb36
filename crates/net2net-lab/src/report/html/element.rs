//! The elements that sections share.

use crate::report::escape::escape;
use crate::report::table::Table;

/// A table in a region that scrolls by itself, so that the page never does.
pub fn table(table: &Table, label: &str) -> String {
    let head: String = table
        .header
        .iter()
        .map(|name| format!("<th scope=\"col\">{}</th>", escape(name)))
        .collect();
    let rows = table.rows.iter().enumerate().map(|(i, row)| {
        let class = if table.strong == Some(i) {
            " class=\"strong\""
        } else {
            ""
        };
        format!("<tr{class}>{}</tr>\n", cells(row))
    });
    scroll(
        &format!(
            "<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>",
            rows.collect::<String>()
        ),
        label,
    )
}

/// The cells of a row, the first of which names it.
pub fn cells(row: &[String]) -> String {
    let cell = |(i, text): (usize, &String)| match i {
        0 => format!("<th scope=\"row\">{}</th>", escape(text)),
        _ => format!("<td>{}</td>", escape(text)),
    };
    row.iter().enumerate().map(cell).collect()
}

/// A table from its inner HTML; keyboards can scroll it.
pub fn scroll(inner: &str, label: &str) -> String {
    let label = escape(label);
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{label}\">\n<table>\n{inner}\n</table>\n</div>\n"
    )
}

/// Something that most readers need not see at first.
pub fn details(summary: &str, inner: &str, open: bool) -> String {
    let open = if open { " open" } else { "" };
    format!(
        "<details{open}>\n<summary>{}</summary>\n{inner}</details>\n",
        escape(summary)
    )
}

/// A name as an anchor.
pub fn id(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect()
}

/// A name at the start of a title.
pub fn capitalized(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
