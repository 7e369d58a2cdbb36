//! Attributes of operators as the text form and file formats carry them.

use std::collections::BTreeMap;
use std::fmt;

/// One attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A whole number; booleans are 0 and 1.
    Int(i64),
    /// Several whole numbers.
    Ints(Vec<i64>),
    /// A finite real number.
    Float(f64),
    /// Several finite real numbers.
    Floats(Vec<f64>),
    /// Text.
    Text(String),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Int(value) => write!(f, "{value}"),
            Attribute::Ints(values) => write!(f, "{values:?}"),
            // Debug keeps the point or exponent that tells a float from an integer.
            Attribute::Float(value) => write!(f, "{value:?}"),
            Attribute::Floats(values) => write!(f, "{values:?}"),
            Attribute::Text(text) => f.write_str(&quote_always(text)),
        }
    }
}

fn quote_always(text: &str) -> String {
    let quoted = crate::graph::quote(text);
    if quoted.starts_with('"') {
        quoted
    } else {
        format!("\"{quoted}\"")
    }
}

/// The attributes of one operator, sorted by name.
///
/// Reading takes each attribute out; what is left over at the end is unknown and an error.
/// Writing leaves out what is at its default, so every default is stated once, in the operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Attribute>);

impl Attributes {
    /// Sets an attribute.
    pub fn insert(&mut self, key: impl Into<String>, value: Attribute) {
        self.0.insert(key.into(), value);
    }

    /// An attribute as it is.
    pub fn get(&self, key: &str) -> Option<&Attribute> {
        self.0.get(key)
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, key: &str) -> Option<Attribute> {
        self.0.remove(key)
    }

    /// All attributes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Fails on the first attribute that nobody took.
    pub fn finish(self) -> Result<(), String> {
        match self.0.into_keys().next() {
            Some(key) => Err(format!("unknown attribute `{key}`")),
            None => Ok(()),
        }
    }

    /// Takes a real number; whole ones are accepted.
    pub fn float(&mut self, key: &str, default: f64) -> Result<f64, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(value),
            Some(Attribute::Int(value)) => Ok(value as f64),
            Some(other) => Err(format!("attribute `{key}` must be a number, not {other}")),
        }
    }

    /// Takes a size or position: a whole number of at least `least`.
    pub fn size(&mut self, key: &str, default: usize, least: usize) -> Result<usize, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(Attribute::Int(value)) => to_size(key, value, least),
            Some(other) => Err(format!("attribute `{key}` must be an integer, not {other}")),
        }
    }

    /// Takes a whole number of either sign.
    pub fn int(&mut self, key: &str, default: i64) -> Result<i64, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(value),
            Some(other) => Err(format!("attribute `{key}` must be an integer, not {other}")),
        }
    }

    /// Takes a boolean, written 0 or 1.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(Attribute::Int(0)) => Ok(false),
            Some(Attribute::Int(1)) => Ok(true),
            Some(other) => Err(format!("attribute `{key}` must be 0 or 1, not {other}")),
        }
    }

    /// Takes text.
    pub fn text(&mut self, key: &str, default: &str) -> Result<String, String> {
        match self.0.remove(key) {
            None => Ok(default.to_owned()),
            Some(Attribute::Text(text)) => Ok(text),
            Some(other) => Err(format!("attribute `{key}` must be text, not {other}")),
        }
    }

    /// Takes whole numbers as they are.
    pub fn ints(&mut self, key: &str) -> Result<Option<Vec<i64>>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(format!("attribute `{key}` must be a list, not {other}")),
        }
    }

    /// Takes real numbers; whole ones are accepted.
    pub fn floats(&mut self, key: &str) -> Result<Option<Vec<f64>>, String> {
        match self.0.remove(key) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values)),
            Some(Attribute::Ints(values)) => Ok(Some(values.iter().map(|x| *x as f64).collect())),
            Some(other) => Err(format!("attribute `{key}` must be a list, not {other}")),
        }
    }

    /// Takes exactly `K` sizes, each at least `least`.
    pub fn sizes<const K: usize>(
        &mut self,
        key: &str,
        default: [usize; K],
        least: usize,
    ) -> Result<[usize; K], String> {
        let Some(values) = self.ints(key)? else {
            return Ok(default);
        };
        if values.len() != K {
            return Err(format!(
                "attribute `{key}` must have {K} entries, not {}",
                values.len()
            ));
        }
        let mut sizes = default;
        for (size, value) in sizes.iter_mut().zip(values) {
            *size = to_size(key, value, least)?;
        }
        Ok(sizes)
    }

    /// Writes sizes unless they are the default.
    pub fn put_sizes<const K: usize>(&mut self, key: &str, sizes: [usize; K], default: [usize; K]) {
        if sizes != default {
            let values = sizes.iter().map(|size| *size as i64).collect();
            self.insert(key, Attribute::Ints(values));
        }
    }

    /// Writes a size unless it is the default.
    pub fn put_size(&mut self, key: &str, size: usize, default: usize) {
        if size != default {
            self.insert(key, Attribute::Int(size as i64));
        }
    }

    /// Writes a boolean unless it is the default.
    pub fn put_flag(&mut self, key: &str, flag: bool, default: bool) {
        if flag != default {
            self.insert(key, Attribute::Int(i64::from(flag)));
        }
    }

    /// Writes a real number unless it is the default.
    pub fn put_float(&mut self, key: &str, value: f64, default: f64) {
        if value != default {
            self.insert(key, Attribute::Float(value));
        }
    }

    /// Writes text unless it is the default.
    pub fn put_text(&mut self, key: &str, text: &str, default: &str) {
        if text != default {
            self.insert(key, Attribute::Text(text.to_owned()));
        }
    }
}

/// The largest size that an attribute may state; larger ones are broken files.
const MAX_SIZE: i64 = 1 << 31;

fn to_size(key: &str, value: i64, least: usize) -> Result<usize, String> {
    match usize::try_from(value) {
        Ok(size) if size >= least && value <= MAX_SIZE => Ok(size),
        _ => Err(format!(
            "attribute `{key}` must be between {least} and {MAX_SIZE}, not {value}"
        )),
    }
}
