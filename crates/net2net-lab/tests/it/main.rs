//! Integration tests of the crate: one binary, one module for each part of the crate.

#[cfg(test)]
mod data;
