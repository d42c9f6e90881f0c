//! The command line as typed; `config` turns it into values that hold together.

pub(crate) mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

/// Workers AI on your own machine.
///
/// Every option can also be set in the environment (named beside it) or in hearth.toml; a flag wins
/// over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Default, Args)]
pub(crate) struct Common {
    /// Configuration file [default: ./hearth.toml, if it is there]
    #[arg(long, global = true, env = "HEARTH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where weights are kept [default: the user's cache folder]
    #[arg(long, global = true, env = "HEARTH_HOME", value_name = "FOLDER")]
    pub(crate) home: Option<PathBuf>,
    /// Never open a socket outwards: weights that are not on disk are not had
    #[arg(long, global = true, env = "HEARTH_OFFLINE", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) offline: Option<bool>,
    /// auto, cpu, cuda, cuda:N or metal [default: auto]
    #[arg(long, global = true, env = "HEARTH_DEVICE", value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// How floats of weights are kept on the CPU: exact, or fast (rounded to eight bits; embeddings only) [default: exact]
    #[arg(long, global = true, env = "HEARTH_QUALITY", value_name = "QUALITY")]
    pub(crate) quality: Option<String>,
    /// What answers: real (models), or stub (no model: at once and true to the schema, for every name; --use and
    /// --allow-stub are for single names) [default: real]
    #[arg(long, global = true, env = "HEARTH_ENGINE", value_name = "ENGINE")]
    pub(crate) engine: Option<String>,
    /// Answer with weights of this grade only: exact, quantised or twin [default: the best that is here]
    #[arg(long, global = true, env = "HEARTH_GRADE", value_name = "GRADE")]
    pub(crate) grade: Option<String>,
    /// Let a stub answer for models that no weights can serve here now, instead of an error
    #[arg(long, global = true, env = "HEARTH_ALLOW_STUB", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_stub: Option<bool>,
    /// Answer for this model with these weights only, or by a stub (MODEL=stub); may be repeated
    #[arg(
        id = "use",
        long,
        global = true,
        env = "HEARTH_USE",
        value_delimiter = ',',
        value_name = "MODEL=WEIGHTS"
    )]
    pub(crate) weights: Vec<String>,
    /// The largest download that a request starts by itself, such as 500MB, or off [default: 200MB]
    #[arg(long, global = true, env = "HEARTH_AUTO_FETCH", value_name = "SIZE")]
    pub(crate) auto_fetch: Option<String>,
    /// Memory that models may take together, such as 8GB [default: the machine's, or its container's, less 256 MiB]
    #[arg(long, global = true, env = "HEARTH_MEMORY", value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Keep large packed weights on disk, beside the weights, so that the next start need not pack them [default: true]
    #[arg(long, global = true, env = "HEARTH_KEEP_PACKED", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) keep_packed: Option<bool>,
    /// Threads that compute on the CPU [default: one for each physical core that this process may use]
    #[arg(long, global = true, env = "HEARTH_THREADS", value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer the Workers AI API on a port of this machine
    Serve(Serve),
    /// Run a development command, such as `wrangler dev`, with its env.AI answered here
    Dev(Dev),
    /// Ask a model once, without a server
    Run(Run),
    /// Fetch the weights that serve a model
    Pull(Pull),
    /// Every model name, and what serves it here
    List(List),
    /// What a running server has loaded
    Ps(Ps),
    /// Every setting: its value here, and where it comes from
    Config(upkeep::Config),
    /// Check this machine, and say what to do
    Doctor(upkeep::Doctor),
    /// Remove weights from the disk
    Rm(upkeep::Rm),
    /// Remove what nothing needs: unfinished downloads, weights that no model is served by any more, packed weights
    /// whose set is gone
    Prune(upkeep::Prune),
    /// Hash weights on disk again
    Verify(upkeep::Verify),
    /// Carry weights to a machine without a network
    Bundle(upkeep::Bundle),
    /// Print a completion script for a shell
    Completions(upkeep::Completions),
    /// Unload a model from a running server
    Stop(Stop),
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) at: At,
    /// Where batches, fine-tunes and usage are kept [default: the home folder where one is named, else the user's
    /// data folder]
    #[arg(long, env = "HEARTH_DATA", value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Keep no records: batches and fine-tunes are refused, and usage is not counted
    #[arg(long, env = "HEARTH_NO_LEDGER", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_ledger: Option<bool>,
    /// Answer requests that carry no auth header (Cloudflare refuses them with 9106)
    #[arg(long, env = "HEARTH_NO_AUTH", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_auth: Option<bool>,
    /// A Host header to accept beside loopback names and the listen address; may be repeated
    #[arg(
        long,
        env = "HEARTH_ALLOW_HOST",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub(crate) allow_host: Vec<String>,
    /// What happens to deprecated names: serve or refuse [default: serve]
    #[arg(long, env = "HEARTH_DEPRECATED", value_name = "POLICY")]
    pub(crate) deprecated: Option<String>,
    #[command(flatten)]
    pub(crate) account: AccountArgs,
    /// Load this model before the first request; may be repeated
    #[arg(
        long,
        env = "HEARTH_PRELOAD",
        value_delimiter = ',',
        value_name = "MODEL"
    )]
    pub(crate) preload: Vec<String>,
    #[command(flatten)]
    pub(crate) stay: Stay,
}

/// Where a server is, and what it is told to let one in.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct At {
    /// Address and port of the server [default: 127.0.0.1:7777]. A public address needs a token
    #[arg(long, env = "HEARTH_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// The one token that the server accepts [default: any token is]
    #[arg(
        long,
        env = "HEARTH_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
}

/// What the account may do that every caller is taken for.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AccountArgs {
    /// paid or free: the free plan refuses the models that Cloudflare keeps for paying accounts (5035) [default: paid]
    #[arg(long, env = "HEARTH_PLAN", value_name = "PLAN")]
    pub(crate) plan: Option<String>,
    /// Refuse when the free plan's 10,000 neurons of a day are used up (4006); needs --plan=free
    #[arg(long, env = "HEARTH_QUOTA", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) quota: Option<bool>,
    /// Refuse requests above Cloudflare's limits a minute (3021)
    #[arg(long, env = "HEARTH_RATE_LIMITS", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) rate_limits: Option<bool>,
    /// Refuse models before their licence is agreed to (5016), and models for invited accounts (5018)
    #[arg(long, env = "HEARTH_GATES", value_name = "BOOL", value_parser = BoolishValueParser::new(),
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) gates: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Send OpenAI's clients here as well (OPENAI_BASE_URL, OPENAI_API_KEY)
    #[arg(long)]
    pub(crate) openai: bool,
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// The command, such as `npx wrangler dev`, `npx vitest` or `npm run dev`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
}

/// Which models stay in memory.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Stay {
    /// How long an idle model stays loaded: a time such as 90s or 1h, 0, or forever [default: 5m]
    #[arg(long, env = "HEARTH_KEEP_ALIVE", value_name = "TIME")]
    pub(crate) keep_alive: Option<String>,
    /// Never unload this model by itself, once it is loaded; may be repeated
    #[arg(long, env = "HEARTH_PIN", value_delimiter = ',', value_name = "MODEL")]
    pub(crate) pin: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A model name, such as @cf/meta/llama-3.1-8b-instruct
    pub(crate) model: String,
    /// The prompt, or the text to embed or to classify; `-` reads standard input
    pub(crate) prompt: Option<String>,
    /// A file to read instead: text, or audio for whisper
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,
    /// Print the JSON that the binding would return
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// A model name, or the name of a set of weights
    #[arg(required = true)]
    pub(crate) models: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    #[command(flatten)]
    pub(crate) at: At,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// A model name, or the name of a set of weights
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) at: At,
}
