//! The rules of the house, as checks; and what is generated from the code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use net2net_core::ops::OPERATORS;

/// A file that is longer is hard to read in one sitting.
const LONGEST_FILE: usize = 600;

/// The core's modules: a module may use those before it. The first group is one layer, since an
/// operator's file holds all of its parts.
const FOUNDATION: [&str; 5] = ["graph", "ops", "dims", "engine", "weights"];
const PIPELINE: [&str; 5] = ["plan", "apply", "verify", "io", "request"];

/// Architectures that the core must not know by name.
const MODEL_NAMES: [&str; 8] = [
    "inception",
    "resnet",
    "vgg",
    "mobilenet",
    "densenet",
    "llama",
    "gpt",
    "bert",
];

/// Checks everything, and names all that is wrong.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    for file in sources(root)? {
        let text = fs::read_to_string(&file)?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        check_file(&name, &text, &mut faults);
    }
    for (path, fresh) in generated(root)? {
        if fs::read_to_string(&path).unwrap_or_default() != fresh {
            let name = path.strip_prefix(root).unwrap_or(&path).display();
            faults.push(format!("{name} is stale; run `cargo xtask generate`"));
        }
    }
    if faults.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{}", faults.join("\n"))
}

/// Writes what is generated.
pub(crate) fn generate(root: &Path) -> Result<()> {
    for (path, fresh) in generated(root)? {
        fs::write(&path, fresh).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.join("crates"), root.join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn check_file(name: &str, text: &str, faults: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        faults.push(format!(
            "{name} has {lines} lines, and {LONGEST_FILE} are a sitting"
        ));
    }
    // Put together here so that this file does not find itself.
    for banned in [
        ["#[ign", "ore"].concat(),
        ["to", "do!("].concat(),
        ["FIX", "ME"].concat(),
    ] {
        if text.contains(&banned) {
            faults.push(format!("{name} holds `{banned}`"));
        }
    }
    let Some(inner) = name.strip_prefix("crates/net2net-core/src/") else {
        return;
    };
    let module = inner.split(['/', '.']).next().unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let lower = code.to_lowercase();
        for model in MODEL_NAMES.iter().filter(|model| lower.contains(**model)) {
            faults.push(format!(
                "{name}:{}: the core knows `{model}` by name",
                number + 1
            ));
        }
        if code.contains("crate::{") {
            let line = number + 1;
            faults.push(format!(
                "{name}:{line}: name each module in a `use crate::` of its own"
            ));
        }
        for used in code.split("crate::").skip(1) {
            let used = used
                .split(|c: char| !c.is_ascii_lowercase())
                .next()
                .unwrap_or_default();
            if !may_use(module, used) {
                faults.push(format!(
                    "{name}:{}: `{module}` must not use `{used}`",
                    number + 1
                ));
            }
        }
    }
}

fn may_use(module: &str, used: &str) -> bool {
    let place = |name: &str| PIPELINE.iter().position(|known| *known == name);
    match (place(module), place(used)) {
        (_, None) => true,
        (Some(own), Some(other)) => other <= own,
        (None, Some(_)) => !FOUNDATION.contains(&module),
    }
}

/// Files whose text follows from the code, or a part of it between markers.
fn generated(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).context("README.md")?;
    let help = format!("```text\n{}```", help()?);
    Ok(vec![
        (root.join("docs/operators.md"), operators()),
        (readme, between(&text, "help", &help)?),
    ])
}

fn operators() -> String {
    let mut page = String::from(
        "# Operators\n\nGenerated from the operator table by `cargo xtask generate`.\n\n\
         A label in inputs and outputs is mapped by growth; one in an activation and a parameter but in no output is \
         contracted, and the parameter's copies share the original's weight; any other cannot grow. `(g i)` is a \
         row-major product, `[a b]` a concatenation, `*` all further axes, `?` an input that may be missing.\n\n\
         | operator | inputs | axis rule |\n|---|---|---|\n",
    );
    for line in OPERATORS {
        let (least, most) = (line.arity.least, line.arity.most);
        let inputs = match most {
            _ if least == most => least.to_string(),
            usize::MAX => format!("{least} or more"),
            _ => format!("{least} to {most}"),
        };
        page.push_str(&format!("| {} | {inputs} | `{}` |\n", line.name, line.rule));
    }
    page
}

/// The help of `net2net compare`, as a terminal of 100 columns shows it.
fn help() -> Result<String> {
    let mut command = net2net::command().term_width(100);
    command.build();
    let compare = command
        .find_subcommand_mut("compare")
        .context("net2net has no command `compare`")?;
    let text = compare.render_help().to_string();
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(trimmed.join("\n") + "\n")
}

/// `text` with what stands between `<!-- name -->` and `<!-- /name -->` replaced.
fn between(text: &str, name: &str, fresh: &str) -> Result<String> {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let missing = || format!("README.md lacks the markers {open} and {close}");
    let (before, rest) = text.split_once(&open).with_context(missing)?;
    let (_, after) = rest.split_once(&close).with_context(missing)?;
    Ok(format!("{before}{open}\n{fresh}\n{close}{after}"))
}
