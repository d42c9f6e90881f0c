//! Values from the command line, the environment and hearth.toml, checked once and then trusted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use models::device::DeviceChoice;
use serde::Deserialize;

use crate::args::{Common, Serve};
use crate::failure::Stop;

/// The port of the server unless another is named.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    7777,
);

/// How long an idle model stays loaded.
const DEFAULT_KEEP_ALIVE: &str = "5m";

/// The configuration file's name in the working directory.
const DEFAULT_FILE: &str = "hearth.toml";

/// hearth.toml. Every key is the long flag of the same name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ConfigFile {
    home: Option<PathBuf>,
    offline: bool,
    device: Option<String>,
    listen: Option<SocketAddr>,
    token: Option<String>,
    no_auth: bool,
    allow_host: Vec<String>,
    deprecated: Option<String>,
    preload: Vec<String>,
    memory: Option<String>,
    keep_alive: Option<String>,
    pin: Vec<String>,
}

impl ConfigFile {
    /// Reads the file that is named, or `hearth.toml` where there is one.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self, Stop> {
        let path = match named {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).is_file() => Path::new(DEFAULT_FILE),
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
        toml::from_str(&text).map_err(|error| Stop::usage(format!("{}: {error}", path.display())))
    }
}

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) store: PathBuf,
    pub(crate) offline: bool,
    pub(crate) device: DeviceChoice,
}

impl Place {
    pub(crate) fn new(common: &Common, file: &ConfigFile) -> Result<Self, Stop> {
        let home = common.home.clone().or_else(|| file.home.clone());
        let home = home
            .or_else(|| dirs::cache_dir().map(|cache| cache.join("hearth")))
            .ok_or_else(|| Stop::usage("no home folder is known: name one with --home"))?;
        let device = common.device.as_deref().or(file.device.as_deref());
        Ok(Self {
            store: home.join("weights"),
            offline: common.offline || file.offline,
            device: device
                .unwrap_or("auto")
                .parse()
                .map_err(|error| Stop::usage(format!("--device: {error}")))?,
        })
    }
}

/// What `serve` needs beside.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) settings: api::Settings,
    pub(crate) preload: Vec<String>,
    pub(crate) policy: engine::Policy,
}

impl Server {
    /// # Errors
    /// A public address without a token, or a word that is not one of the choices.
    pub(crate) fn new(args: Serve, file: ConfigFile) -> Result<Self, Stop> {
        let listen = args.listen.or(file.listen).unwrap_or(DEFAULT_LISTEN);
        let token = args.token.or(file.token).filter(|token| !token.is_empty());
        if !listen.ip().is_loopback() && token.is_none() {
            return Err(Stop::usage(format!(
                "{listen} can be reached by other machines, and no token is set.\n\
                 Either set one (--token, HEARTH_TOKEN, or token in hearth.toml),\n\
                 or listen on loopback only (--listen 127.0.0.1:{}),\n\
                 or put a proxy that checks who asks in front of a loopback address.",
                listen.port()
            )));
        }
        let deprecated = match args.deprecated.or(file.deprecated).as_deref() {
            None | Some("serve") => api::DeprecatedPolicy::Serve,
            Some("refuse") => api::DeprecatedPolicy::Refuse,
            Some(other) => {
                return Err(Stop::usage(format!(
                    "--deprecated: {other:?} is neither serve nor refuse"
                )));
            }
        };
        let budget_bytes = match args.memory.size.or(file.memory) {
            Some(text) => crate::amounts::size(&text)
                .map_err(|error| Stop::usage(format!("--memory: {error}")))?,
            None => crate::memory::budget_bytes(),
        };
        let keep_alive = args.memory.keep_alive.or(file.keep_alive);
        let keep_alive = crate::amounts::keep_alive(keep_alive.as_deref().unwrap_or(DEFAULT_KEEP_ALIVE))
            .map_err(|error| Stop::usage(format!("--keep-alive: {error}")))?;
        let either = |flag: Vec<String>, file: Vec<String>| if flag.is_empty() { file } else { flag };
        Ok(Self {
            settings: api::Settings {
                token,
                no_auth: args.no_auth || file.no_auth,
                deprecated,
                allow_hosts: either(args.allow_host, file.allow_host),
                ..api::Settings::new(listen)
            },
            preload: either(args.preload, file.preload),
            policy: engine::Policy {
                budget_bytes: Some(budget_bytes),
                keep_alive,
                pinned: either(args.memory.pin, file.pin),
                ..engine::Policy::default()
            },
        })
    }
}
