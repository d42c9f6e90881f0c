//! Where each effective value comes from: recorded at the one place that chooses it.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde::Serialize;
use serde_json::Value;

/// Where a value comes from, the strongest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag of the command line.
    Flag(String),
    /// A variable of the environment.
    Environment(String),
    /// The configuration file.
    File(PathBuf),
    /// Nothing was said.
    Default,
}

impl Origin {
    /// The kind, for programs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Environment(_) => "environment",
            Self::File(_) => "file",
            Self::Default => "default",
        }
    }

    /// The flag, the variable or the path.
    pub(crate) fn name(&self) -> Option<String> {
        match self {
            Self::Flag(name) | Self::Environment(name) => Some(name.clone()),
            Self::File(path) => Some(path.display().to_string()),
            Self::Default => None,
        }
    }
}

/// A setting's value here, as it may be shown.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Chooses values, and keeps what it chose.
pub(crate) struct Settings<'m> {
    matches: &'m ArgMatches,
    arguments: Vec<&'m Arg>,
    file: Option<PathBuf>,
    chosen: Vec<Setting>,
}

impl<'m> Settings<'m> {
    /// `matches` is what `command` made of the command line.
    pub(crate) fn new(command: &'m Command, matches: &'m ArgMatches) -> Self {
        let (mut command, mut matches) = (command, matches);
        let mut arguments: Vec<&Arg> = command.get_arguments().collect();
        while let Some((name, inner)) = matches.subcommand() {
            matches = inner;
            if let Some(inner) = command.find_subcommand(name) {
                command = inner;
                arguments.extend(command.get_arguments());
            }
        }
        Self {
            matches,
            arguments,
            file: None,
            chosen: Vec::new(),
        }
    }

    /// Values of the file come from `path` from now on.
    pub(crate) fn set_file(&mut self, path: Option<PathBuf>) {
        self.file = path;
    }

    /// What was typed (a flag, or a variable), else what the file says, else the default. `key` is the long flag.
    pub(crate) fn choose<T: Serialize>(
        &mut self,
        key: &'static str,
        typed: Option<T>,
        filed: Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        let (value, origin) = self.strongest(key, typed, filed, default);
        let shown = serde_json::to_value(&value).unwrap_or_default();
        self.keep(key, shown, origin);
        value
    }

    /// As [`Settings::choose`], for a value that is never shown. An empty one is none.
    pub(crate) fn choose_secret(
        &mut self,
        key: &'static str,
        typed: Option<String>,
        filed: Option<String>,
    ) -> Option<String> {
        let (value, origin) = self.strongest(key, typed.map(Some), filed.map(Some), || None);
        let value = value.filter(|value| !value.is_empty());
        let shown = if value.is_some() { "set" } else { "not set" };
        self.keep(key, Value::from(shown), origin);
        value
    }

    /// Shows what a default that is no value of its own comes to here.
    pub(crate) fn show_default(&mut self, key: &str, value: Value) {
        let mut chosen = self.chosen.iter_mut();
        if let Some(setting) = chosen.find(|setting| setting.key == key)
            && setting.origin == Origin::Default
        {
            setting.value = value;
        }
    }

    /// How a person would name the value that was chosen for `key`: by its flag, its variable or its line.
    pub(crate) fn said_by(&self, key: &str) -> String {
        match self
            .chosen
            .iter()
            .find(|setting| setting.key == key)
            .map(|setting| &setting.origin)
        {
            Some(Origin::Environment(name)) => name.clone(),
            Some(Origin::File(path)) => format!("{}: {key}", path.display()),
            _ => format!("--{key}"),
        }
    }

    /// Everything chosen so far, in that order.
    pub(crate) fn all(&self) -> &[Setting] {
        &self.chosen
    }

    fn strongest<T>(
        &self,
        key: &str,
        typed: Option<T>,
        filed: Option<T>,
        default: impl FnOnce() -> T,
    ) -> (T, Origin) {
        match (typed, filed, &self.file) {
            (Some(value), ..) => (value, self.typed_origin(key)),
            (None, Some(value), Some(path)) => (value, Origin::File(path.clone())),
            _ => (default(), Origin::Default),
        }
    }

    fn typed_origin(&self, key: &str) -> Origin {
        let flag = Origin::Flag(format!("--{key}"));
        let Some(argument) = self
            .arguments
            .iter()
            .find(|argument| argument.get_long() == Some(key))
        else {
            return flag;
        };
        match (
            self.matches.value_source(argument.get_id().as_str()),
            argument.get_env(),
        ) {
            (Some(ValueSource::EnvVariable), Some(name)) => {
                Origin::Environment(name.to_string_lossy().into_owned())
            }
            _ => flag,
        }
    }

    fn keep(&mut self, key: &'static str, value: Value, origin: Origin) {
        self.chosen.push(Setting { key, value, origin });
    }
}
