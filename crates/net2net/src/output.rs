//! Standard output.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line to standard output, as `println!` does, in a function that returns a result.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::line(format_args!($($text)*))?
    };
}
pub(crate) use say;

/// Prints a line to standard error, as `eprintln!` does; what cannot be said, on a disk that is full or to a reader that has gone,
/// is no reason to stop.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::output::aside(format_args!($($text)*))
    };
}
pub(crate) use tell;

/// See [`tell`].
pub(crate) fn aside(text: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// See [`say`]. A reader that has gone, as in `net2net inspect model.onnx | head`, has seen enough
/// and is no failure.
pub(crate) fn line(text: Arguments<'_>) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
