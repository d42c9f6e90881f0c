//! The fields of `scheduler_config.json`, by diffusers' classes.

use super::config::Method;
use crate::image::fields::{COUNT, FLAG, NONE, NUMBER, OFF, Rule, Table, WORD};

/// The tables of a method, the first that knows a field counts.
pub(super) fn tables(method: Method) -> [&'static Table; 3] {
    match method {
        Method::Ddim => [DDIM, NOISE, FOREIGN],
        Method::Pndm => [PNDM, NOISE, FOREIGN],
        Method::Euler => [EULER, NOISE, FOREIGN],
        Method::EulerAncestral => [EULER_ANCESTRAL, NOISE, FOREIGN],
        Method::DpmPlusPlus2M => [DPM, NOISE, FOREIGN],
        Method::Lcm => [LCM, NOISE, FOREIGN],
        Method::FlowMatch => [FLOW, FOREIGN, &[]],
    }
}

/// What all have that go by betas. Sigmas that are not the training's are refused where a class does not
/// have them, too: diffusers would go on without.
const NOISE: &Table = &[
    ("beta_end", NUMBER),
    (
        "beta_schedule",
        Rule::Only(&["\"linear\"", "\"scaled_linear\""]),
    ),
    ("beta_start", NUMBER),
    ("num_train_timesteps", COUNT),
    (
        "prediction_type",
        Rule::Only(&["\"epsilon\"", "\"v_prediction\""]),
    ),
    ("rescale_betas_zero_snr", OFF),
    ("steps_offset", COUNT),
    ("thresholding", OFF),
    ("timestep_spacing", SPACINGS),
    ("trained_betas", NONE),
    ("use_beta_sigmas", OFF),
    ("use_exponential_sigmas", OFF),
    ("use_flow_sigmas", OFF),
    ("use_karras_sigmas", OFF),
];

const SPACINGS: Rule = Rule::Only(&["\"linspace\"", "\"leading\"", "\"trailing\""]);
const CLIPPED: [(&str, Rule); 3] = [
    ("clip_sample", FLAG),
    ("clip_sample_range", NUMBER),
    ("set_alpha_to_one", FLAG),
];

const DDIM: &Table = &CLIPPED;
const PNDM: &Table = &[
    ("set_alpha_to_one", FLAG),
    ("skip_prk_steps", Rule::Only(&["true"])),
];
const EULER: &Table = &[
    ("final_sigmas_type", Rule::Only(&["\"zero\""])),
    ("interpolation_type", Rule::Only(&["\"linear\""])),
    ("sigma_max", NONE),
    ("sigma_min", NONE),
    ("timestep_type", Rule::Only(&["\"discrete\""])),
    ("use_karras_sigmas", FLAG),
];
const EULER_ANCESTRAL: &Table = &[];
const DPM: &Table = &[
    ("algorithm_type", Rule::Only(&["\"dpmsolver++\""])),
    ("final_sigmas_type", Rule::Only(&["\"zero\""])),
    ("lambda_min_clipped", Rule::Only(&["null", "\"-Infinity\""])),
    ("solver_order", Rule::Only(&["2"])),
    ("solver_type", Rule::Only(&["\"midpoint\""])),
    ("use_dynamic_shifting", OFF),
    ("use_karras_sigmas", FLAG),
    ("use_lu_lambdas", OFF),
    ("variance_type", NONE),
];
const LCM: &Table = &[
    ("clip_sample", FLAG),
    ("clip_sample_range", NUMBER),
    ("original_inference_steps", COUNT),
    ("steps_offset", Rule::Idle), // its steps are those of its own training
    ("timestep_scaling", NUMBER),
    ("timestep_spacing", Rule::Idle),
];
const FLOW: &Table = &[
    ("base_image_seq_len", NUMBER),
    ("base_shift", NUMBER),
    ("invert_sigmas", OFF),
    ("max_image_seq_len", NUMBER),
    ("max_shift", NUMBER),
    ("num_train_timesteps", COUNT),
    ("shift", NUMBER),
    ("shift_terminal", NONE),
    ("stochastic_sampling", OFF),
    ("time_shift_type", Rule::Only(&["\"exponential\""])),
    ("use_beta_sigmas", OFF),
    ("use_dynamic_shifting", FLAG),
    ("use_exponential_sigmas", OFF),
    ("use_karras_sigmas", OFF),
];

/// What a class does not have, or has no use for: a configuration goes from class to class with the fields of
/// all that it was.
const FOREIGN: &Table = &[
    ("_class_name", WORD),
    ("_diffusers_version", Rule::Idle),
    ("algorithm_type", Rule::Idle),
    ("base_image_seq_len", Rule::Idle),
    ("base_shift", Rule::Idle),
    ("beta_end", Rule::Idle),
    ("beta_schedule", Rule::Idle),
    ("beta_start", Rule::Idle),
    ("clip_sample", Rule::Idle),
    ("clip_sample_range", Rule::Idle),
    ("dynamic_thresholding_ratio", Rule::Idle), // of thresholding
    ("euler_at_final", Rule::Idle),             // a last sigma of zero says it
    ("final_sigmas_type", Rule::Idle),
    ("flow_shift", Rule::Idle), // of flow sigmas
    ("interpolation_type", Rule::Idle),
    ("invert_sigmas", Rule::Idle),
    ("lambda_min_clipped", Rule::Idle),
    ("lower_order_final", Rule::Idle), // a last sigma of zero says it
    ("max_image_seq_len", Rule::Idle),
    ("max_shift", Rule::Idle),
    ("original_inference_steps", Rule::Idle),
    ("prediction_type", Rule::Idle),
    ("rescale_betas_zero_snr", Rule::Idle),
    ("sample_max_value", Rule::Idle), // of thresholding
    ("set_alpha_to_one", Rule::Idle),
    ("shift", Rule::Idle),
    ("shift_terminal", Rule::Idle),
    ("sigma_max", Rule::Idle),
    ("sigma_min", Rule::Idle),
    ("skip_prk_steps", Rule::Idle),
    ("solver_order", Rule::Idle),
    ("solver_type", Rule::Idle),
    ("steps_offset", Rule::Idle),
    ("stochastic_sampling", Rule::Idle),
    ("thresholding", Rule::Idle),
    ("time_shift_type", Rule::Idle),
    ("timestep_scaling", Rule::Idle),
    ("timestep_spacing", Rule::Idle),
    ("timestep_type", Rule::Idle),
    ("trained_betas", Rule::Idle),
    ("use_dynamic_shifting", Rule::Idle),
    ("use_lu_lambdas", Rule::Idle),
    ("variance_type", Rule::Idle),
];
