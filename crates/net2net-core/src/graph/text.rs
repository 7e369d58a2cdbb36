//! The stable text form of a graph: one line a value or node, and it parses back.
//!
//! ```text
//! graph mlp
//! input images [N, 1, 28, 28]
//! param fc.weight [10, 784]
//! node flat [N, 784] = Flatten(images)
//! node fc [N, 10] = Gemm(flat, fc.weight)
//! output fc
//! ```
//!
//! Attributes at their defaults are left out: `Conv(x, w; pads=[1, 1, 1, 1])`. Names that hold
//! other characters than letters, digits and `_.-/:` are written as JSON strings.

use std::fmt::{self, Write};
use std::str::FromStr;

use thiserror::Error;

use super::{Extent, Graph, GraphError, Shape, ValueId};
use crate::ops::{Attribute, Attributes, Op};

/// Why a text is not a graph.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The text does not follow the grammar.
    #[error("line {line}: {why}")]
    Syntax {
        /// Counted from one.
        line: usize,
        /// What was expected.
        why: String,
    },
    /// The text is well-formed and the graph is not.
    #[error("line {line}: {source}")]
    Graph {
        /// Counted from one.
        line: usize,
        /// What is wrong.
        source: GraphError,
    },
    /// The whole is not a valid graph.
    #[error(transparent)]
    Whole(#[from] GraphError),
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", quote(&self.name))?;
        let mut nodes = self.nodes.iter().peekable();
        for (index, value) in self.values.iter().enumerate() {
            let keyword = match value.source {
                super::Source::Input => "input",
                super::Source::Parameter => "param",
                super::Source::Node { .. } => {
                    if let Some(node) = nodes.next_if(|n| n.outputs[0].index() == index) {
                        self.write_node(f, node)?;
                    }
                    continue;
                }
            };
            writeln!(f, "{keyword} {} {}", quote(&value.name), value.shape)?;
        }
        for output in &self.outputs {
            writeln!(f, "output {}", quote(&self.get(*output).name))?;
        }
        Ok(())
    }
}

impl Graph {
    fn write_node(&self, f: &mut fmt::Formatter<'_>, node: &super::Node) -> fmt::Result {
        f.write_str("node ")?;
        for (i, output) in node.outputs.iter().enumerate() {
            let value = self.get(*output);
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", quote(&value.name), value.shape)?;
        }
        write!(f, " = {}(", node.op.name())?;
        for (i, input) in node.inputs.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}", quote(&self.get(*input).name))?;
        }
        let mut separator = "; ";
        for (key, attribute) in node.op.write().iter() {
            write!(f, "{separator}{key}={attribute}")?;
            separator = ", ";
        }
        writeln!(f, ")")
    }
}

/// A name as the text form writes it: bare if it can be, else a JSON string.
pub fn quote(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            // A control character would break the one-line-a-node form.
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{{{:x}}}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl FromStr for Graph {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Graph, ParseError> {
        let mut graph: Option<Graph> = None;
        for (index, content) in text.lines().enumerate() {
            let line = index + 1;
            let mut cursor = Cursor {
                rest: content.trim(),
            };
            if cursor.rest.is_empty() || cursor.rest.starts_with('#') {
                continue;
            }
            let keyword = cursor.bare();
            let result = match (&mut graph, keyword) {
                (None, "graph") => cursor.name().map(|name| graph = Some(Graph::new(name))),
                (None, _) => Err(Fault::Syntax("a graph starts with `graph NAME`".into())),
                (Some(graph), keyword) => parse_line(graph, keyword, &mut cursor),
            };
            result
                .and_then(|()| cursor.end())
                .map_err(|fault| match fault {
                    Fault::Syntax(why) => ParseError::Syntax { line, why },
                    Fault::Graph(source) => ParseError::Graph { line, source },
                })?;
        }
        let graph = graph.ok_or(ParseError::Syntax {
            line: 1,
            why: "the text is empty; a graph starts with `graph NAME`".into(),
        })?;
        graph.validate()?;
        Ok(graph)
    }
}

enum Fault {
    Syntax(String),
    Graph(GraphError),
}

impl From<GraphError> for Fault {
    fn from(error: GraphError) -> Self {
        Fault::Graph(error)
    }
}

fn parse_line(graph: &mut Graph, keyword: &str, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    match keyword {
        "input" => {
            let name = cursor.name()?;
            graph.input(name, cursor.shape()?)?;
        }
        "param" => {
            let name = cursor.name()?;
            let shape = cursor.shape()?;
            let sizes = shape.to_fixed().ok_or_else(|| {
                Fault::Syntax(format!("parameter `{name}` must not have the batch N"))
            })?;
            graph.parameter(name, &sizes)?;
        }
        "node" => parse_node(graph, cursor)?,
        "output" => {
            let value = graph.find(&cursor.name()?)?;
            graph.output(value);
        }
        other => {
            return Err(Fault::Syntax(format!(
                "expected `input`, `param`, `node` or `output`, found `{other}`"
            )));
        }
    }
    Ok(())
}

fn parse_node(graph: &mut Graph, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let mut names = Vec::new();
    let mut shapes = Vec::new();
    loop {
        names.push(cursor.name()?);
        shapes.push(cursor.shape()?);
        if !cursor.accept(',') {
            break;
        }
    }
    cursor.expect('=')?;
    let operator = cursor.bare().to_owned();
    cursor.expect('(')?;
    let mut inputs: Vec<ValueId> = Vec::new();
    if !matches!(cursor.peek(), Some(')' | ';')) {
        inputs.push(graph.find(&cursor.name()?)?);
        while cursor.accept(',') {
            inputs.push(graph.find(&cursor.name()?)?);
        }
    }
    let mut attributes = Attributes::default();
    if cursor.accept(';') {
        loop {
            let key = cursor.bare().to_owned();
            cursor.expect('=')?;
            if attributes.iter().any(|(known, _)| known == key) {
                return Err(Fault::Syntax(format!("attribute `{key}` is given twice")));
            }
            attributes.insert(key, cursor.attribute()?);
            if !cursor.accept(',') {
                break;
            }
        }
    }
    cursor.expect(')')?;
    let op = Op::read(&operator, attributes)
        .map_err(|why| Fault::Syntax(format!("node `{}`: {why}", names[0])))?;
    let outputs = graph.node_with_outputs(&names, op, &inputs)?;
    for (output, stated) in outputs.iter().zip(&shapes) {
        let inferred = &graph.get(*output).shape;
        if inferred != stated {
            return Err(Fault::Syntax(format!(
                "node `{}` is said to have shape {stated}, and its inputs give {inferred}",
                names[0]
            )));
        }
    }
    Ok(())
}

/// Reads tokens off the front of one line.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn accept(&mut self, token: char) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.rest = &self.rest[token.len_utf8()..];
        }
        found
    }

    fn expect(&mut self, token: char) -> Result<(), Fault> {
        if self.accept(token) {
            Ok(())
        } else {
            Err(self.fault(&format!("`{token}`")))
        }
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("the end of the line")),
        }
    }

    fn fault(&self, expected: &str) -> Fault {
        let found: String = self.rest.chars().take(24).collect();
        Fault::Syntax(format!("expected {expected}, found `{found}`"))
    }

    /// The longest run of bare-name characters, which may be empty.
    fn bare(&mut self) -> &'a str {
        self.peek();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/:".contains(c);
        let end = self.rest.find(|c| !plain(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn name(&mut self) -> Result<String, Fault> {
        if self.peek() == Some('"') {
            return self.quoted();
        }
        match self.bare() {
            "" => Err(self.fault("a name")),
            word => Ok(word.to_owned()),
        }
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(name);
                }
                '\\' => match chars.next() {
                    Some((at, 'u')) => {
                        let (code, end) = unicode_escape(&self.rest[at..])
                            .ok_or_else(|| self.fault("an escape like `\\u{a}`"))?;
                        name.push(code);
                        while chars.next().is_some_and(|(next, _)| next + 1 < at + end) {}
                    }
                    Some((_, c)) => name.push(c),
                    None => break,
                },
                c => name.push(c),
            }
        }
        Err(self.fault("a closing `\"`"))
    }

    fn shape(&mut self) -> Result<Shape, Fault> {
        self.expect('[')?;
        let mut extents = Vec::new();
        if !self.accept(']') {
            loop {
                let word = self.bare();
                extents.push(match word {
                    "N" => Extent::Batch,
                    _ => Extent::Fixed(word.parse().map_err(|_| {
                        Fault::Syntax(format!("expected a size or `N`, found `{word}`"))
                    })?),
                });
                if !self.accept(',') {
                    break;
                }
            }
            self.expect(']')?;
        }
        let shape = Shape::new(extents);
        shape.check().map_err(Fault::Syntax)?;
        Ok(shape)
    }

    fn attribute(&mut self) -> Result<Attribute, Fault> {
        match self.peek() {
            Some('[') => {
                self.expect('[')?;
                let mut words = Vec::new();
                if !self.accept(']') {
                    loop {
                        words.push(self.bare());
                        if !self.accept(',') {
                            break;
                        }
                    }
                    self.expect(']')?;
                }
                list(&words)
            }
            Some('"') => Ok(Attribute::Text(self.quoted()?)),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<Attribute, Fault> {
        let word = self.bare();
        if let Ok(value) = word.parse::<i64>() {
            return Ok(Attribute::Int(value));
        }
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Attribute::Float(value)),
            _ => Err(Fault::Syntax(format!("expected a number, found `{word}`"))),
        }
    }
}

/// Whole numbers, or real ones if one of them is not whole.
fn list(words: &[&str]) -> Result<Attribute, Fault> {
    let whole = words.iter().map(|word| word.parse().ok());
    if let Some(values) = whole.collect::<Option<Vec<i64>>>() {
        return Ok(Attribute::Ints(values));
    }
    let mut values = Vec::with_capacity(words.len());
    for word in words {
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ => return Err(Fault::Syntax(format!("expected a number, found `{word}`"))),
        }
    }
    Ok(Attribute::Floats(values))
}

/// Reads `u{…}`: the character and the bytes it took.
fn unicode_escape(text: &str) -> Option<(char, usize)> {
    let inner = text.strip_prefix("u{")?;
    let close = inner.find('}')?;
    let code = u32::from_str_radix(&inner[..close], 16).ok()?;
    Some((char::from_u32(code)?, close + 3))
}
