//! Values from the command line, the environment and hearth.toml, checked once and then trusted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use catalog::Catalog;
use models::Quality;
use models::device::DeviceChoice;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tasks::Grade;

use crate::args::{Common, Serve};
use crate::chooser::Wishes;
use crate::failure::Stop;
use crate::origin::Settings;

/// The port of the server unless another is named.
pub(crate) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7777);

/// More threads than any machine has processors are a slip of the finger.
const THREADS_MAX: usize = 4096;

/// How long an idle model stays loaded.
const DEFAULT_KEEP_ALIVE: &str = "5m";

/// The largest download that a request starts by itself.
const DEFAULT_AUTO_FETCH: &str = "200MB";

/// The configuration file's name in the working directory.
const DEFAULT_FILE: &str = "hearth.toml";

/// hearth.toml. Every key is the long flag of the same name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ConfigFile {
    home: Option<PathBuf>,
    offline: Option<bool>,
    device: Option<String>,
    quality: Option<String>,
    listen: Option<SocketAddr>,
    token: Option<String>,
    no_auth: Option<bool>,
    allow_host: Option<Vec<String>>,
    deprecated: Option<String>,
    plan: Option<String>,
    quota: Option<bool>,
    rate_limits: Option<bool>,
    gates: Option<bool>,
    preload: Option<Vec<String>>,
    memory: Option<String>,
    threads: Option<usize>,
    keep_packed: Option<bool>,
    keep_alive: Option<String>,
    pin: Option<Vec<String>>,
    engine: Option<String>,
    grade: Option<String>,
    allow_stub: Option<bool>,
    r#use: Option<Vec<String>>,
    auto_fetch: Option<String>,
    data: Option<PathBuf>,
    no_ledger: Option<bool>,
    // The tables of the catalogue, which reads them itself.
    #[serde(rename = "model")]
    _model: IgnoredAny,
    #[serde(rename = "group")]
    _group: IgnoredAny,
    #[serde(rename = "weights")]
    _weights: IgnoredAny,
    #[serde(rename = "alias")]
    _alias: IgnoredAny,
    /// The file itself.
    #[serde(skip)]
    pub(crate) source: Option<(PathBuf, String)>,
}

impl ConfigFile {
    /// The built-in catalogue with the file's own models, weights and aliases.
    pub(crate) fn catalog(&self) -> Result<Catalog, Stop> {
        let builtin = Catalog::builtin().map_err(|error| Stop::failed(error.to_string()))?;
        match &self.source {
            None => Ok(builtin),
            Some((path, text)) => builtin
                .extend(text, &path.display().to_string())
                .map_err(|error| Stop::usage(error.to_string())),
        }
    }

    /// Reads the file that is named, or `hearth.toml` where there is one.
    ///
    /// # Errors
    /// With the line and the key, for what is no TOML and for keys and types that are not known.
    pub(crate) fn read(named: Option<&Path>, settings: &mut Settings<'_>) -> Result<Self, Stop> {
        let found = || {
            Path::new(DEFAULT_FILE)
                .is_file()
                .then(|| PathBuf::from(DEFAULT_FILE))
        };
        let path = settings.choose(
            "config",
            named.map(|path| Some(path.to_owned())),
            None,
            found,
        );
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let wrong =
            |error: &dyn std::fmt::Display| Stop::usage(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        let file = toml::from_str(&text).map_err(|error| wrong(&error))?;
        settings.set_file(Some(path.clone()));
        Ok(Self {
            source: Some((path, text)),
            ..file
        })
    }
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) store: PathBuf,
    /// Where records are kept unless another folder is named.
    pub(crate) records: PathBuf,
    pub(crate) offline: bool,
    pub(crate) device: DeviceChoice,
    pub(crate) quality: Quality,
    pub(crate) wishes: Wishes,
    /// Bytes that models may take together.
    pub(crate) memory_bytes: u64,
    /// Threads that compute on the CPU.
    pub(crate) threads: usize,
    /// Whether packed weights are kept on disk.
    pub(crate) keep_packed: bool,
}

impl Place {
    /// # Errors
    /// No home folder, a word that names no device, or an amount that is none.
    pub(crate) fn new(
        common: &Common,
        file: &ConfigFile,
        settings: &mut Settings<'_>,
    ) -> Result<Self, Stop> {
        let is_named = common.home.is_some() || file.home.is_some();
        let cache = || dirs::cache_dir().map(|cache| cache.join("hearth"));
        let home = settings.choose(
            "home",
            common.home.clone().map(Some),
            file.home.clone().map(Some),
            cache,
        );
        let offline = settings.choose("offline", common.offline, file.offline, || false);
        let device = settings.choose("device", common.device.clone(), file.device.clone(), || {
            "auto".into()
        });
        let quality = settings.choose(
            "quality",
            common.quality.clone(),
            file.quality.clone(),
            || Quality::Exact.word().into(),
        );
        let memory = settings.choose(
            "memory",
            common.memory.clone().map(Some),
            file.memory.clone().map(Some),
            || None,
        );
        let memory_bytes = if let Some(text) = memory {
            crate::amounts::size(&text)
                .map_err(|error| Stop::usage(format!("{}: {error}", settings.said_by("memory"))))?
        } else {
            let bytes = crate::memory::budget_bytes();
            settings.show_default("memory", format!("{} MB", bytes / 1_000_000).into());
            bytes
        };
        let threads = settings.choose(
            "threads",
            common.threads,
            file.threads,
            models::threads::default_count,
        );
        if !(1..=THREADS_MAX).contains(&threads) {
            let name = settings.said_by("threads");
            return Err(Stop::usage(format!(
                "{name}: {threads} threads; 1 to {THREADS_MAX} can compute"
            )));
        }
        let keep_packed =
            settings.choose("keep-packed", common.keep_packed, file.keep_packed, || true);
        let wishes = wishes(common, file, settings)?;
        let home =
            home.ok_or_else(|| Stop::usage("no home folder is known: name one with --home"))?;
        // A cache may be emptied at any time; records may not.
        let data = dirs::data_dir().filter(|_| !is_named);
        Ok(Self {
            records: data.map_or_else(|| home.clone(), |data| data.join("hearth")),
            store: home.join("weights"),
            offline,
            wishes,
            memory_bytes,
            threads,
            keep_packed,
            device: device
                .parse()
                .map_err(|error| Stop::usage(format!("{}: {error}", settings.said_by("device"))))?,
            quality: Quality::of_word(&quality).ok_or_else(|| {
                let name = settings.said_by("quality");
                Stop::usage(format!("{name}: {quality:?} is neither exact nor fast"))
            })?,
        })
    }
}

/// What the user says about choosing weights.
fn wishes(common: &Common, file: &ConfigFile, settings: &mut Settings<'_>) -> Result<Wishes, Stop> {
    let engine = settings.choose("engine", common.engine.clone(), file.engine.clone(), || {
        "real".into()
    });
    let grade = settings.choose(
        "grade",
        common.grade.clone().map(Some),
        file.grade.clone().map(Some),
        || None,
    );
    let allow_stub = settings.choose("allow-stub", common.allow_stub, file.allow_stub, || false);
    let typed = Some(common.weights.clone()).filter(|list| !list.is_empty());
    let pairs = settings.choose("use", typed, file.r#use.clone(), Vec::new);
    let auto_fetch = settings.choose(
        "auto-fetch",
        common.auto_fetch.clone(),
        file.auto_fetch.clone(),
        || DEFAULT_AUTO_FETCH.into(),
    );
    let grade = match grade.as_deref() {
        None => None,
        Some("exact") => Some(Grade::Exact),
        Some("quantised") => Some(Grade::Quantised),
        Some("twin") => Some(Grade::Twin),
        Some("stub") => {
            let name = settings.said_by("grade");
            return Err(Stop::usage(format!(
                "{name}: a stub has no weights; --engine stub lets one answer for every name, --use MODEL=stub for one"
            )));
        }
        Some(other) => {
            let name = settings.said_by("grade");
            return Err(Stop::usage(format!(
                "{name}: {other:?} is not exact, quantised or twin"
            )));
        }
    };
    let grade = match (engine.as_str(), grade) {
        ("real", grade) => grade,
        ("stub", None) => Some(Grade::Stub),
        ("stub", Some(grade)) => {
            let (engine, name) = (settings.said_by("engine"), settings.said_by("grade"));
            return Err(Stop::usage(format!(
                "{engine}: a stub has no weights of the grade {grade} that {name} asks for; leave one of them out"
            )));
        }
        (other, _) => {
            let name = settings.said_by("engine");
            return Err(Stop::usage(format!(
                "{name}: {other:?} is neither real nor stub"
            )));
        }
    };
    let pair = |text: &String| match text.split_once('=') {
        Some((model, weights)) => Ok((model.to_owned(), weights.to_owned())),
        None => Err(Stop::usage(format!(
            "{}: {text:?} is not MODEL=WEIGHTS",
            settings.said_by("use")
        ))),
    };
    Ok(Wishes {
        grade,
        allow_stub,
        weights: pairs.iter().map(pair).collect::<Result<_, _>>()?,
        auto_fetch_bytes: match auto_fetch.as_str() {
            "off" => None,
            size => Some(crate::amounts::size(size).map_err(|error| {
                Stop::usage(format!(
                    "{}: {error} (or off)",
                    settings.said_by("auto-fetch")
                ))
            })?),
        },
    })
}

impl crate::args::At {
    /// Takes from the file what was not said.
    pub(crate) fn fill_from(&mut self, file: &ConfigFile) {
        self.listen = self.listen.or(file.listen);
        self.token = self.token.take().or_else(|| file.token.clone());
    }
}

/// Where `serve` would listen, whether or not it may.
pub(crate) fn listen(args: &Serve, file: &ConfigFile) -> SocketAddr {
    args.at.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN)
}

/// What `serve` needs beside.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: api::Settings,
    pub(crate) preload: Vec<String>,
    pub(crate) policy: engine::Policy,
    pub(crate) records: Records,
}

/// Where batches, fine-tunes and usage are kept.
#[derive(Debug)]
pub(crate) enum Records {
    /// Nowhere.
    Off,
    /// In the folder of [`Place::records`], if it can be had.
    Default,
    /// In this folder, or the server does not start.
    Folder(PathBuf),
}

impl Server {
    /// Every setting is chosen before the first is judged, so that `config` can show all of them.
    ///
    /// # Errors
    /// A public address without a token, or a word that is not one of the choices.
    pub(crate) fn new(
        args: Serve,
        file: ConfigFile,
        settings: &mut Settings<'_>,
    ) -> Result<Self, Stop> {
        let typed = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
        let listen = settings.choose("listen", args.at.listen, file.listen, || DEFAULT_LISTEN);
        let token = settings.choose_secret("token", args.at.token, file.token);
        let no_auth = settings.choose("no-auth", args.no_auth, file.no_auth, || false);
        let allow_hosts = settings.choose(
            "allow-host",
            typed(args.allow_host),
            file.allow_host,
            Vec::new,
        );
        let deprecated = settings.choose("deprecated", args.deprecated, file.deprecated, || {
            "serve".into()
        });
        let account = args.account;
        let plan = settings.choose("plan", account.plan, file.plan, || "paid".into());
        let quota = settings.choose("quota", account.quota, file.quota, || false);
        let rate_limits =
            settings.choose("rate-limits", account.rate_limits, file.rate_limits, || {
                false
            });
        let gates = settings.choose("gates", account.gates, file.gates, || false);
        let preload = settings.choose("preload", typed(args.preload), file.preload, Vec::new);
        let keep_alive =
            settings.choose("keep-alive", args.stay.keep_alive, file.keep_alive, || {
                DEFAULT_KEEP_ALIVE.into()
            });
        let pinned = settings.choose("pin", typed(args.stay.pin), file.pin, Vec::new);
        let data = settings.choose("data", args.data.map(Some), file.data.map(Some), || None);
        let no_ledger = settings.choose("no-ledger", args.no_ledger, file.no_ledger, || false);
        if !listen.ip().is_loopback() && token.is_none() {
            return Err(Stop::usage(format!(
                "{listen} can be reached by other machines, and no token is set.\n\
                 Either set one (--token, HEARTH_TOKEN, or token in hearth.toml),\n\
                 or listen on loopback only (--listen 127.0.0.1:{}),\n\
                 or put a proxy that checks who asks in front of a loopback address.",
                listen.port()
            )));
        }
        let deprecated = match deprecated.as_str() {
            "serve" => api::DeprecatedPolicy::Serve,
            "refuse" => api::DeprecatedPolicy::Refuse,
            other => {
                let name = settings.said_by("deprecated");
                return Err(Stop::usage(format!(
                    "{name}: {other:?} is neither serve nor refuse"
                )));
            }
        };
        let plan = match plan.as_str() {
            "paid" => api::Plan::Paid,
            "free" => api::Plan::Free,
            other => {
                let name = settings.said_by("plan");
                return Err(Stop::usage(format!(
                    "{name}: {other:?} is neither paid nor free"
                )));
            }
        };
        if quota && plan == api::Plan::Paid {
            let name = settings.said_by("quota");
            return Err(Stop::usage(format!(
                "{name}: the quota is the free plan's; say --plan=free too"
            )));
        }
        let keep_alive = crate::amounts::keep_alive(&keep_alive)
            .map_err(|error| Stop::usage(format!("{}: {error}", settings.said_by("keep-alive"))))?;
        Ok(Self {
            settings: api::Settings {
                token,
                no_auth,
                deprecated,
                plan,
                quota,
                rate_limits,
                gates,
                allow_hosts,
                ..api::Settings::new(listen)
            },
            preload,
            records: match data {
                _ if no_ledger => Records::Off,
                Some(folder) => Records::Folder(folder),
                None => Records::Default,
            },
            policy: engine::Policy {
                keep_alive,
                pinned,
                ..engine::Policy::default()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::args::{Cli, Command};

    /// The three lists that have to agree: flags of the command line, keys of the file, settings that are chosen.
    #[test]
    fn every_flag_with_a_variable_is_a_setting_and_a_key_of_the_file() {
        let command = Cli::command();
        let own = command.find_subcommand("config").unwrap();
        let mut flags = BTreeSet::new();
        for argument in command.get_arguments().chain(own.get_arguments()) {
            if let (Some(key), Some(name)) = (argument.get_long(), argument.get_env()) {
                let variable = format!("HEARTH_{}", key.replace('-', "_").to_uppercase());
                assert_eq!(name.to_str().unwrap(), variable);
                flags.insert(key.to_owned());
            }
        }
        let matches = command.clone().get_matches_from(["hearth", "config"]);
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Command::Config(args) = cli.command else {
            panic!("the config command")
        };
        let mut settings = Settings::new(&command, &matches);
        let file = ConfigFile::read(None, &mut settings).unwrap();
        Place::new(&cli.common, &file, &mut settings).unwrap();
        Server::new(args.serve, file, &mut settings).unwrap();
        let chosen: BTreeSet<_> = settings
            .all()
            .iter()
            .map(|setting| setting.key.to_owned())
            .collect();
        assert_eq!(chosen, flags);
        assert_eq!(settings.all().len(), flags.len(), "each is chosen once");
        for key in flags.iter().filter(|key| *key != "config") {
            let refused = toml::from_str::<ConfigFile>(&format!("{key} = {{}}")).unwrap_err();
            assert!(
                !refused.message().contains("unknown field"),
                "{key} is no key of the file"
            );
        }
    }
}
