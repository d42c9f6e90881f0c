//! `scheduler/scheduler_config.json`, with the defaults of diffusers for what it leaves out.

use serde::Deserialize;
use serde_json::Value;

use super::fields::tables;
use crate::image::fields::{judged, object};
use crate::image::source::bounded;
use crate::load::{Files, LoadError};

const FOLDER: &str = "scheduler";
const NAME: &str = "scheduler_config.json";
const FILE: &str = "scheduler/scheduler_config.json";
/// The most steps of a training.
const TRAINED_MAX: usize = 100_000;

/// Which way of taking noise away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Song et al. 2020.
    Ddim,
    /// Liu et al. 2022, without its Runge-Kutta steps.
    Pndm,
    /// Karras et al. 2022, algorithm 2 without churn.
    Euler,
    /// The same with new noise at each step.
    EulerAncestral,
    /// Lu et al. 2022, second order, over several steps.
    DpmPlusPlus2M,
    /// Luo et al. 2023.
    Lcm,
    /// Lipman et al. 2022, Euler's steps.
    FlowMatch,
}

/// How the moments of the steps lie in those of the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// From the first to the last, evenly.
    Linspace,
    /// Multiples of a whole number from the first.
    Leading,
    /// The same from the last.
    Trailing,
}

/// What a model says of a noisy picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Prediction {
    /// Its noise.
    #[serde(rename = "epsilon")]
    Noise,
    /// Salimans and Ho 2022.
    #[serde(rename = "v_prediction")]
    Velocity,
}

/// A scheduler's configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// Which one.
    pub method: Method,
    /// The moments of its steps.
    pub spacing: Spacing,
    /// What the model says.
    pub prediction: Prediction,
    /// Sigmas by Karras et al. 2022, not by the training.
    pub karras: bool,
    /// Whether pictures are clipped to -1 to 1 at each step of DDIM.
    pub clips: bool,
    /// How far from 0 they are clipped.
    pub(super) clip_range: f64,
    pub(super) trained: usize,
    pub(super) betas: Betas,
    pub(super) offset: usize,
    pub(super) ends_at_one: bool,
    pub(super) lcm: LcmConfig,
    pub(super) flow: FlowConfig,
}

/// How much noise the first and the last step of the training added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Betas {
    pub(super) first: f64,
    pub(super) last: f64,
    /// Whether their square roots are even, not the numbers themselves.
    pub(super) is_scaled_linear: bool,
}

/// Numbers of LCM.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LcmConfig {
    pub(super) original_steps: usize,
    pub(super) timestep_scaling: f64,
}

/// Numbers of flow matching.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FlowConfig {
    pub(super) shift: f64,
    pub(super) is_dynamic: bool,
    /// The shift's logarithm at the lengths below.
    pub(super) shifts: (f64, f64),
    pub(super) lengths: (f64, f64),
}

#[derive(Deserialize)]
struct Written {
    num_train_timesteps: Option<usize>,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<String>,
    prediction_type: Option<Prediction>,
    timestep_spacing: Option<Spacing>,
    steps_offset: Option<usize>,
    set_alpha_to_one: Option<bool>,
    clip_sample: Option<bool>,
    clip_sample_range: Option<f64>,
    use_karras_sigmas: Option<bool>,
    skip_prk_steps: Option<bool>,
    original_inference_steps: Option<usize>,
    timestep_scaling: Option<f64>,
    shift: Option<f64>,
    use_dynamic_shifting: Option<bool>,
    base_shift: Option<f64>,
    max_shift: Option<f64>,
    base_image_seq_len: Option<f64>,
    max_image_seq_len: Option<f64>,
}

/// Library and class of a pipeline's scheduler.
#[derive(Default, Deserialize)]
struct Index {
    scheduler: Option<(Value, Value)>,
}

impl SchedulerConfig {
    /// Reads `scheduler/scheduler_config.json`. Its class is the one that `model_index.json` names, if it
    /// names one: so does diffusers.
    pub(in crate::image) fn read(files: &Files) -> Result<Self, LoadError> {
        let fields = object(files, FOLDER, NAME)?;
        let index: Index = if files.has("model_index.json") {
            files.json("model_index.json")?
        } else {
            Index::default()
        };
        let class = match index.scheduler {
            Some((_, class)) => class,
            None => fields.get("_class_name").cloned().unwrap_or_default(),
        };
        let (method, spacing) = match class.as_str().unwrap_or_default() {
            "DDIMScheduler" => (Method::Ddim, Spacing::Leading),
            "PNDMScheduler" => (Method::Pndm, Spacing::Leading),
            "EulerDiscreteScheduler" => (Method::Euler, Spacing::Linspace),
            "EulerAncestralDiscreteScheduler" => (Method::EulerAncestral, Spacing::Linspace),
            "DPMSolverMultistepScheduler" => (Method::DpmPlusPlus2M, Spacing::Linspace),
            "LCMScheduler" => (Method::Lcm, Spacing::Leading),
            "FlowMatchEulerDiscreteScheduler" => (Method::FlowMatch, Spacing::Linspace),
            _ => {
                let detail = format!("the scheduler {class}");
                return Err(LoadError::unsupported(&files.path(FILE), detail));
            }
        };
        let written: Written = judged(files, (FOLDER, NAME), fields, &tables(method))?;
        written.judge(files, method, spacing)
    }

    /// What diffusers' pipeline of Stable Diffusion 1 makes of any scheduler: nothing is clipped, and steps are
    /// one moment later.
    pub(in crate::image) fn of_stable_diffusion_1(&mut self) {
        if self.clips || self.offset != 1 {
            tracing::info!("the scheduler's clip_sample counts as false and its steps_offset as 1");
        }
        (self.clips, self.offset) = (false, 1);
    }

    /// The most steps: as many as there are moments, or as its model was taught.
    pub(super) fn steps_max(&self) -> usize {
        match self.method {
            Method::Lcm => self.lcm.original_steps,
            // One moment is left out.
            Method::DpmPlusPlus2M => self.trained - 1,
            _ => self.trained,
        }
    }

    /// That of FLUX.1 schnell, where its file stands alone.
    pub(in crate::image) fn of_flux() -> Self {
        Self {
            method: Method::FlowMatch,
            spacing: Spacing::Linspace,
            prediction: Prediction::Noise,
            karras: false,
            clips: false,
            clip_range: 1.0,
            trained: 1000,
            betas: Betas {
                first: 0.0001,
                last: 0.02,
                is_scaled_linear: false,
            },
            offset: 0,
            ends_at_one: true,
            lcm: LcmConfig {
                original_steps: 50,
                timestep_scaling: 10.0,
            },
            flow: FlowConfig {
                shift: 1.0,
                is_dynamic: false,
                shifts: (0.5, 1.15),
                lengths: (256.0, 4096.0),
            },
        }
    }
}

impl Written {
    fn judge(
        self,
        files: &Files,
        method: Method,
        spacing: Spacing,
    ) -> Result<SchedulerConfig, LoadError> {
        let unsupported = |detail: &str| Err(LoadError::unsupported(&files.path(FILE), detail));
        let set = |flag: Option<bool>| flag == Some(true);
        if method == Method::Pndm && !set(self.skip_prk_steps) {
            return unsupported("skip_prk_steps is not true: Runge-Kutta steps are not made here");
        }
        let is_scaled_linear = self.beta_schedule.as_deref() == Some("scaled_linear");
        let trained = self.num_train_timesteps.unwrap_or(1000);
        let original_steps = self.original_inference_steps.unwrap_or(50);
        bounded(
            files,
            FILE,
            &[
                ("num_train_timesteps", trained, TRAINED_MAX),
                ("original_inference_steps", original_steps, trained),
                (
                    "steps_offset + 1",
                    self.steps_offset.unwrap_or(0).saturating_add(1),
                    trained,
                ),
            ],
        )?;
        // LCM's class has numbers of its own where its file has none.
        let is_lcm = method == Method::Lcm;
        let beta =
            |number: Option<f64>, lcm, other| number.unwrap_or(if is_lcm { lcm } else { other });
        let betas = Betas {
            first: beta(self.beta_start, 0.00085, 0.0001),
            last: beta(self.beta_end, 0.012, 0.02),
            is_scaled_linear: is_scaled_linear || (is_lcm && self.beta_schedule.is_none()),
        };
        if !(betas.first > 0.0 && betas.first <= betas.last && betas.last < 1.0) {
            let detail = format!("beta_start {} and beta_end {}", betas.first, betas.last);
            return Err(LoadError::corrupt(&files.path(FILE), detail));
        }
        let clip_range = self.clip_sample_range.unwrap_or(1.0);
        if !(clip_range.is_finite() && clip_range > 0.0) {
            let detail = format!("clip_sample_range is {clip_range}");
            return Err(LoadError::corrupt(&files.path(FILE), detail));
        }
        if method == Method::DpmPlusPlus2M && trained < 2 {
            return unsupported("num_train_timesteps 1: there is no step to be made");
        }
        let base = SchedulerConfig::of_flux();
        let config = SchedulerConfig {
            method,
            spacing: self.timestep_spacing.unwrap_or(spacing),
            prediction: self.prediction_type.unwrap_or(Prediction::Noise),
            karras: set(self.use_karras_sigmas),
            clips: self.clip_sample.unwrap_or(method == Method::Ddim),
            clip_range,
            trained,
            betas,
            offset: self.steps_offset.unwrap_or(0),
            ends_at_one: self.set_alpha_to_one.unwrap_or(method != Method::Pndm),
            lcm: LcmConfig {
                original_steps,
                timestep_scaling: self.timestep_scaling.unwrap_or(base.lcm.timestep_scaling),
            },
            flow: FlowConfig {
                shift: self.shift.unwrap_or(base.flow.shift),
                is_dynamic: set(self.use_dynamic_shifting),
                shifts: (
                    self.base_shift.unwrap_or(base.flow.shifts.0),
                    self.max_shift.unwrap_or(base.flow.shifts.1),
                ),
                lengths: (
                    self.base_image_seq_len.unwrap_or(base.flow.lengths.0),
                    self.max_image_seq_len.unwrap_or(base.flow.lengths.1),
                ),
            },
        };
        let flow = config.flow;
        if flow.shift <= 0.0 || (flow.is_dynamic && flow.lengths.0 >= flow.lengths.1) {
            let detail = format!("shift {}, lengths {:?}", flow.shift, flow.lengths);
            return Err(LoadError::corrupt(&files.path(FILE), detail));
        }
        Ok(config)
    }
}
