//! The picture of the unfrozen half of `verify`: measured over predicted effects, and the figures of each distance as bars. An SVG written
//! by hand: it asks for nothing a plotting library has (two axes, points, bars), and for one thing that none has, colours that follow
//! the reader's light or dark scheme.

use super::unfrozen::{Comparison, figure};
use crate::nodes::shown;
use circuit_graph::{Agreement, Pair, Reach};
use std::fmt::Write as _;

/// The whole picture.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 572.0;
/// The square of the points: left, top, side.
const LEFT: f64 = 78.0;
const TOP: f64 = 92.0;
const SIDE: f64 = 404.0;
/// The table of bars.
const TABLE: f64 = 536.0;
const PEARSON: f64 = 694.0;
const SAME_SIGN: f64 = 828.0;
const BAR: f64 = 64.0;

/// More points than these make a file large and show no more.
const MOST_POINTS: usize = 4000;
/// Effects this many times smaller than the largest lie where the axes pass from logarithm to line.
const LINEAR: f64 = 300.0;

/// Colours from the nearest to the farthest distance. All stand out from white and from near black, and differ in lightness too.
const NEAR_TO_FAR: [[f64; 3]; 4] =
    [[20.0, 140.0, 130.0], [66.0, 120.0, 220.0], [160.0, 90.0, 215.0], [222.0, 80.0, 140.0]];

const STYLE: &str = "
  text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .title { font-size: 18px; font-weight: 600; }
  .muted { fill: #59636e; }
  .head { font-weight: 600; }
  .ground { fill: #ffffff; }
  .other { fill: #f4ecec; }
  .grid { stroke: #d1d9e0; }
  .axis { stroke: #59636e; fill: none; }
  .as-predicted { stroke: #59636e; stroke-dasharray: 5 4; }
  .track { fill: #eaeef2; }
  .all { fill: #59636e; stroke: #59636e; }
  .target { fill: #c76a08; stroke: #c76a08; }
  .points { fill-opacity: 0.55; }
  .opposite { fill-opacity: 0.15; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .muted { fill: #9198a1; }
    .ground { fill: #0d1117; }
    .other { fill: #1d1519; }
    .grid { stroke: #2a313a; }
    .axis, .as-predicted { stroke: #9198a1; }
    .track { fill: #21262d; }
    .all { fill: #9198a1; stroke: #9198a1; }
    .target { fill: #f0983b; stroke: #f0983b; }
    .points { fill-opacity: 0.7; }
  }
";

/// The picture of a comparison, headed by the model and the prompt.
pub(super) fn svg(model: &str, prompt: &str, found: &Comparison) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n"
    );
    let title = "Effects of removed features: measured over predicted";
    let _ = writeln!(svg, "<title>{title}</title>");
    let _ = writeln!(
        svg,
        "<desc>{}</desc>",
        escaped(&format!("Pearson correlation {} on features", figure(found.features.pearson)))
    );
    let _ = writeln!(svg, "<style>{STYLE}</style>");
    let _ = writeln!(svg, "<rect class=\"ground\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>");
    text(&mut svg, (24.0, 36.0), "title", title);
    let prompt = shortened(&shown(prompt), 72);
    let about = format!(
        "{} · {prompt} · {} features removed, one by one, {}",
        shortened(model, 32),
        found.removed,
        found.held()
    );
    text(&mut svg, (24.0, 58.0), "muted", &about);
    scatter(&mut svg, found);
    table(&mut svg, found);
    svg += "</svg>\n";
    svg
}

/// Lengths of the axes: about logarithmic in both directions from 0.
struct Scale {
    /// The largest effect shown.
    largest: f64,
    /// Below it lengths are about linear.
    linear: f64,
}

impl Scale {
    fn of<'a>(pairs: impl Iterator<Item = &'a Pair>) -> Self {
        let largest = pairs.map(|p| p.predicted.abs().max(p.measured.abs())).fold(0.0, f64::max);
        let largest = if largest > 0.0 { 1.15 * largest } else { 1.0 };
        Self { largest, linear: largest / LINEAR }
    }

    /// From -1 to 1.
    fn place(&self, effect: f64) -> f64 {
        (effect / self.linear).asinh() / (self.largest / self.linear).asinh()
    }

    fn x(&self, effect: f64) -> f64 {
        LEFT + SIDE * (1.0 + self.place(effect)) / 2.0
    }

    fn y(&self, effect: f64) -> f64 {
        TOP + SIDE * (1.0 - self.place(effect)) / 2.0
    }

    /// 0, and powers of ten of both signs that are shown apart from it.
    fn ticks(&self) -> Vec<(f64, String)> {
        let powers = (self.linear.log10().ceil() as i32)..=(self.largest.log10().floor() as i32);
        let both = powers.flat_map(|power| {
            let label = match power {
                -3..=4 => format!("{}", 10.0_f64.powi(power)),
                _ => format!("1e{power}"),
            };
            let effect = 10.0_f64.powi(power);
            [(effect, label.clone()), (-effect, format!("−{label}"))]
        });
        std::iter::once((0.0, "0".to_owned())).chain(both).collect()
    }
}

fn scatter(svg: &mut String, found: &Comparison) {
    let compared: Vec<&Pair> = found.pairs.iter().filter(|pair| !pair.is_rounding()).collect();
    let scale = Scale::of(compared.iter().copied());
    let (half, right, bottom) = (SIDE / 2.0, LEFT + SIDE, TOP + SIDE);
    // Where the two effects have other signs.
    for (x, y) in [(LEFT, TOP), (LEFT + half, TOP + half)] {
        let _ =
            writeln!(svg, "<rect class=\"other\" x=\"{x}\" y=\"{y}\" width=\"{half}\" height=\"{half}\"/>");
    }
    text(svg, (LEFT + 8.0, TOP + 18.0), "muted", "other sign");
    for (effect, label) in scale.ticks() {
        let (x, y) = (scale.x(effect), scale.y(effect));
        let class = if effect == 0.0 { "axis" } else { "grid" };
        line(svg, class, (x, TOP), (x, bottom));
        line(svg, class, (LEFT, y), (right, y));
        anchored(svg, (x, bottom + 18.0), "muted", "middle", &label);
        anchored(svg, (LEFT - 8.0, y + 4.0), "muted", "end", &label);
    }
    line(svg, "as-predicted", (LEFT, bottom), (right, TOP));
    let _ =
        writeln!(svg, "<rect class=\"axis\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{SIDE}\" height=\"{SIDE}\"/>");
    anchored(svg, (LEFT + half, bottom + 40.0), "", "middle", "predicted: total effect in the graph");
    let _ = writeln!(
        svg,
        "<text text-anchor=\"middle\" transform=\"translate(22 {}) rotate(-90)\">measured in the model</text>",
        TOP + half
    );

    let step = compared.len().div_ceil(MOST_POINTS).max(1);
    let drawn: Vec<&Pair> = compared.iter().copied().step_by(step).collect();
    for (nth, (layers, _)) in found.by_distance.iter().enumerate() {
        let own = drawn.iter().filter(|p| matches!(p.reach, Reach::Layers(d) if layers.contains(&d)));
        let _ = writeln!(svg, "<g class=\"points\" fill=\"{}\">", colour(nth, found.by_distance.len()));
        for pair in own {
            let (x, y) = (scale.x(pair.predicted), scale.y(pair.measured));
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>");
        }
        *svg += "</g>\n";
    }
    *svg += "<g class=\"target\">\n";
    for pair in drawn.iter().filter(|p| p.reach == Reach::Target) {
        diamond(svg, (scale.x(pair.predicted), scale.y(pair.measured)), 4.0);
    }
    *svg += "</g>\n";
    let points = match step {
        1 => format!("{} pairs", compared.len()),
        _ => format!("1 in {step} of {} pairs", compared.len()),
    };
    let note = format!(
        "{points}; features in units of activation, targets in logits; axes logarithmic but near 0; dashed: as predicted"
    );
    text(svg, (24.0, HEIGHT - 16.0), "muted", &note);
}

/// The figures of each group, its colour being the legend of the points.
fn table(svg: &mut String, found: &Comparison) {
    let y = TOP + 12.0;
    text(svg, (TABLE, y), "head", "layers above");
    anchored(svg, (PEARSON - 20.0, y), "head", "end", "pairs");
    text(svg, (PEARSON, y), "head", "Pearson");
    text(svg, (SAME_SIGN, y), "head", "same sign");
    let groups: Vec<(String, &Agreement)> = found.groups().collect();
    let n_distances = found.by_distance.len();
    let height = (SIDE - 40.0) / (groups.len() as f64 + 0.5);
    let height = height.min(38.0);
    for (nth, (name, agreement)) in groups.iter().enumerate() {
        let apart = if nth >= n_distances { 0.5 } else { 0.0 };
        let y = TOP + 28.0 + height * (nth as f64 + apart + 0.5);
        let (class, fill) = match nth.checked_sub(n_distances) {
            None => ("", format!(" fill=\"{}\"", colour(nth, n_distances))),
            Some(0) => ("all", String::new()),
            Some(_) => ("target", String::new()),
        };
        match class {
            "target" => {
                *svg += "<g class=\"target\">";
                diamond(svg, (TABLE + 6.0, y), 5.0);
                *svg += "</g>\n";
            }
            "all" => {}
            _ => {
                let _ = writeln!(svg, "<circle cx=\"{}\" cy=\"{y:.1}\" r=\"5\"{fill}/>", TABLE + 6.0);
            }
        }
        text(svg, (TABLE + 20.0, y + 4.0), "", name);
        anchored(svg, (PEARSON - 20.0, y + 4.0), "muted", "end", &agreement.pairs.to_string());
        bar(svg, (PEARSON, y), class, &fill, agreement.pearson, &figure(agreement.pearson));
        let percent = agreement.same_sign.map_or_else(|| "-".into(), |s| format!("{:.1} %", 100.0 * s));
        bar(svg, (SAME_SIGN, y), class, &fill, agreement.same_sign, &percent);
    }
}

/// A bar from 0 to 1 and its figure. What is below 0 is drawn pale: as long, but opposite.
fn bar(svg: &mut String, (x, y): (f64, f64), class: &str, fill: &str, value: Option<f64>, label: &str) {
    let top = y - 6.0;
    let _ = writeln!(
        svg,
        "<rect class=\"track\" x=\"{x}\" y=\"{top:.1}\" width=\"{BAR}\" height=\"12\" rx=\"2\"/>"
    );
    if let Some(value) = value {
        let opposite = if value < 0.0 { " opposite" } else { "" };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}{opposite}\"{fill} x=\"{x}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"12\" rx=\"2\"/>",
            BAR * value.abs().min(1.0)
        );
    }
    text(svg, (x + BAR + 8.0, y + 4.0), "", label);
}

/// The colour of the n-th of so many distances.
fn colour(nth: usize, of: usize) -> String {
    let last = NEAR_TO_FAR.len() - 1;
    let place = nth as f64 / of.saturating_sub(1).max(1) as f64 * last as f64;
    let from = (place as usize).min(last - 1);
    let share = place - from as f64;
    let mix =
        |c: usize| (NEAR_TO_FAR[from][c] * (1.0 - share) + NEAR_TO_FAR[from + 1][c] * share).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2))
}

fn line(svg: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn diamond(svg: &mut String, (x, y): (f64, f64), r: f64) {
    let _ = writeln!(svg, "<path d=\"M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z\"/>", y - r);
}

fn text(svg: &mut String, place: (f64, f64), class: &str, words: &str) {
    anchored(svg, place, class, "start", words);
}

fn anchored(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(words)
    );
}

/// Words as XML holds them. Control characters, which it cannot hold, are left out.
fn escaped(words: &str) -> String {
    let allowed = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let words: String = words.chars().filter(allowed).collect();
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn shortened(words: &str, most: usize) -> String {
    match words.chars().count() > most {
        true => words.chars().take(most - 1).chain(['…']).collect(),
        false => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_symmetric_and_reach_the_largest() {
        let pair = |predicted, measured| Pair { reach: Reach::Target, predicted, measured, rounding: 1e-4 };
        let pairs = [pair(0.5, -20.0), pair(3.0, 1.0)];
        let scale = Scale::of(pairs.iter());
        assert_eq!(scale.place(0.0), 0.0);
        assert_eq!(scale.place(-7.0), -scale.place(7.0));
        assert!((0.9..1.0).contains(&scale.place(20.0)));
        let labels: Vec<_> = scale.ticks().into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["0", "0.1", "−0.1", "1", "−1", "10", "−10"]);
        assert_eq!(Scale::of([].iter()).largest, 1.0);
    }

    /// The texts of a picture, after its reading as XML.
    fn words(svg: &str) -> Vec<String> {
        let svg = roxmltree::Document::parse(svg).unwrap();
        let texts = svg.descendants().filter(|n| n.tag_name().name() == "text");
        texts.map(|n| n.text().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn pictures_of_nothing_and_of_much_are_pictures() {
        let nothing = svg("a model", "a\nprompt", &Comparison::new(vec![], 3, false, 5, 9));
        assert!(words(&nothing).iter().any(|w| w.starts_with("0 pairs")), "{nothing}");
        assert!(words(&nothing).iter().any(|w| w.contains("\"a\\nprompt\" · 3 features removed")));

        // Distances 1 to 40, 300 pairs of each; far ones turn round.
        let pair = |nth: usize| {
            let layers = 1 + nth % 40;
            let predicted = (nth as f64 * 0.7).sin() * 100.0 / layers as f64;
            let measured = if layers > 32 { -predicted } else { predicted + (nth as f64 * 0.3).cos() };
            Pair { reach: Reach::Layers(layers), predicted, measured, rounding: 1e-4 }
        };
        let target = Pair { reach: Reach::Target, ..pair(3) };
        let pairs = (0..12_000).map(pair).chain([target]).collect();
        let much = svg("<model>", "& \u{1} prompt", &Comparison::new(pairs, 40, true, 5, 9));
        let words = words(&much);
        for word in ["1", "3 to 4", "9 to 16", "33 to 40", "12000", "−10", "−1.000"] {
            assert!(words.iter().any(|w| w.replace('-', "−") == word), "{word}: {words:?}");
        }
        assert!(words.iter().any(|w| w.starts_with("1 in 4 of 12001 pairs")), "{words:?}");
        assert!(much.contains("opposite") && much.len() < 400_000, "{}", much.len());
    }

    #[test]
    fn words_are_xml() {
        assert_eq!(escaped("<bos> \"a\" & \u{1b}b\u{ffff}"), "&lt;bos&gt; &quot;a&quot; &amp; b");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }

    #[test]
    fn colours_run_from_near_to_far() {
        assert_eq!([colour(0, 1), colour(0, 5), colour(4, 5)], ["#148c82", "#148c82", "#de508c"]);
        assert_eq!(colour(1, 4), "#4278dc");
    }
}
