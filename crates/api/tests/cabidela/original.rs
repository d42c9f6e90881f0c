//! The original validator, in a Node of its own.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::Value;
use testkit::Npm;

const VERSION: &str = "0.2.4";

/// What a validator makes of an input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It passes, and is this with its defaults.
    Becomes(Value),
    /// It fails with this message.
    Fails(String),
}

/// The side that is told schemas and cases. Dropping it ends the cases.
pub(crate) struct Questions(BufWriter<ChildStdin>);

/// The side that says what became of each case, in order.
pub(crate) struct Answers {
    lines: std::io::Lines<BufReader<ChildStdout>>,
    child: Child,
}

/// Installs the package of the asserted version, and starts it.
pub(crate) fn start() -> (Questions, Answers) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cabidela");
    let npm = Npm::locked(&here.join("original"));
    let package = npm
        .folder()
        .join("node_modules/@cloudflare/cabidela/package.json");
    let package = std::fs::read_to_string(package).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    assert_eq!(package["version"], VERSION);
    let mut child = npm
        .node(&here.join("original.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let questions = Questions(BufWriter::new(child.stdin.take().unwrap()));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (questions, Answers { lines, child })
}

impl Questions {
    pub(crate) fn schema(&mut self, name: &str, schema: &Value) {
        writeln!(self.0, "S\t{name}\t{schema}").unwrap();
    }

    pub(crate) fn case(&mut self, name: &str, input: &str) {
        writeln!(self.0, "C\t{name}\t{input}").unwrap();
    }
}

impl Answers {
    pub(crate) fn next(&mut self) -> Verdict {
        let line = self
            .lines
            .next()
            .expect("the original ended early")
            .unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer[0].as_str() {
            Some("becomes") => Verdict::Becomes(answer[1].clone()),
            _ => Verdict::Fails(answer[1].as_str().unwrap().into()),
        }
    }

    pub(crate) fn end(mut self) {
        assert!(self.lines.next().is_none(), "an answer too many");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the original ended with {status}");
    }
}
