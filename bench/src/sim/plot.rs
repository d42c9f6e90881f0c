//! The results as a picture: a bar for each way of sharing steps, on a logarithmic axis.

use std::fmt::Write;

/// One group of bars.
#[derive(Debug, Clone)]
pub struct Group {
    /// What was run.
    pub name: String,
    /// Seconds, one a way; in the order of the legend.
    pub bars: Vec<f64>,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const BAR: f64 = 9.0;
const GAP: f64 = 10.0;
const TOP: f64 = 60.0;
const COLOURS: [&str; 3] = ["#1f77b4", "#d62728", "#7f7f7f"];

/// An SVG of groups of bars.
#[must_use]
pub fn bars(title: &str, legend: &[&str], groups: &[Group]) -> String {
    let values = || groups.iter().flat_map(|group| &group.bars).copied();
    let low = values().filter(|&v| v > 0.0).fold(f64::INFINITY, f64::min);
    let low = low.min(1.0).log10().floor();
    let high = values().fold(0.01, f64::max).log10().ceil();
    let place = |value: f64| {
        let part = (value.max(1e-9).log10() - low) / (high - low).max(1.0);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - 20.0)
    };
    let group_height = BAR * legend.len() as f64 + GAP;
    let height = TOP + group_height * groups.len() as f64 + 30.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for (index, name) in legend.iter().enumerate() {
        let (x, colour) = (10.0 + 200.0 * index as f64, COLOURS[index % COLOURS.len()]);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"42\">{name}</text>",
            x + 18.0
        );
    }
    for power in low as i32..=high as i32 {
        let x = place(10_f64.powi(power));
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
            height - 28.0,
            height - 12.0,
            10_f64.powi(power)
        );
    }
    for (index, group) in groups.iter().enumerate() {
        let y = TOP + group_height * index as f64 + GAP / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + group_height / 2.0,
            group.name
        );
        for (bar, &value) in group.bars.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"><title>{value:.4} s</title></rect>",
                y + BAR * bar as f64,
                place(value) - LEFT,
                BAR - 1.0,
                COLOURS[bar % COLOURS.len()]
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
