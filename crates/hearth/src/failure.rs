//! Why the program stops early: a sentence for the person, a code for the script.

use std::fmt;
use std::process::ExitCode;

/// The reason and the exit code.
#[derive(Debug)]
pub(crate) struct Stop {
    message: String,
    code: u8,
}

impl Stop {
    /// The command or its configuration is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    /// The command is right and the work failed: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
