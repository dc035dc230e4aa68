//! `cargo xtask bench --page`: how long the page is busy with what its users do most, as one table beside the last committed one.
//!
//! `web/bench` measures the built page in Chromium against the real server; this prints its figures and judges them by the page's time
//! budget. It always ends well: a busy machine is no fault of the page. What the page does for a step is counted by its tests.

use crate::{bench, bootstrap, shell, web};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The table that is committed.
const COMMITTED: &str = "web/bench/committed.json";

/// Budget of M30, in milliseconds of the median: a hover, a selection, a step of the slider.
const BUDGET: [(&str, f64); 3] = [("hover", 16.0), ("select", 50.0), ("slide", 33.0)];

/// Graphs that M30 names, and what their first picture may take after the download, in milliseconds.
const JUDGED: [(&str, f64); 2] = [("synthetic-2000-50000", 1000.0), ("synthetic-5000-100000", 2500.0)];

/// What one kind of step takes: milliseconds from the event to the end of its frame, and milliseconds of processor time for each step.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Measured {
    median: f64,
    p95: f64,
    /// Of the process that runs the page.
    page: f64,
    /// Of the process that composes pictures.
    compositor: f64,
}

/// All figures of one graph.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    graph: String,
    nodes: u64,
    links: u64,
    /// Milliseconds from the last byte of the graph to the first picture of it.
    shown: f64,
    hover: Measured,
    hover_all_links: Measured,
    select: Measured,
    /// `None` where the graph has no threshold to slide.
    slide: Option<Measured>,
    /// Milliseconds of the longest task of the main thread after loading.
    longest_task: f64,
    /// MiB of the page's heap.
    heap: f64,
}

/// What `web/bench` writes.
#[derive(Debug, Deserialize)]
struct Found {
    browser: String,
    rows: Vec<Row>,
}

/// A table as it is committed: where it was measured, and its figures.
#[derive(Debug, Deserialize, Serialize)]
struct Committed {
    machine: String,
    browser: String,
    rows: Vec<Row>,
}

/// Builds page and binary, measures, prints the table and the judgement; `--save` makes the table the committed one. Other arguments
/// are files of graphs to measure besides the demo's and the synthetic ones.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let save = args.contains(&"--save");
    let graphs = args
        .iter()
        .filter(|arg| **arg != "--save")
        .map(|path| std::path::absolute(path).with_context(|| format!("{path} is no path")));
    let graphs: Vec<PathBuf> = graphs.collect::<Result<_>>()?;
    for graph in &graphs {
        anyhow::ensure!(
            graph.is_file(),
            "{} is no file; --page takes --save and files of graphs",
            graph.display()
        );
    }
    let found = measure(&graphs)?;
    let path = shell::root().join(COMMITTED);
    let committed = read(&path)?;
    let now = Committed { machine: bench::machine(), browser: found.browser, rows: found.rows };
    println!("\n{}", table(&now, committed.as_ref()));
    println!("{}", judgement(&now.rows));
    if save {
        let text = serde_json::to_string_pretty(&now).context("the figures are no JSON")?;
        std::fs::write(&path, format!("{text}\n")).with_context(|| format!("cannot write {COMMITTED}"))?;
        println!("written to {COMMITTED}");
    }
    Ok(())
}

/// The figures of the page as it is in this checkout.
fn measure(graphs: &[PathBuf]) -> Result<Found> {
    web::node()?;
    let chromium =
        web::chromium().context("the page is measured in Chromium: install it, or name one in CHROMIUM")?;
    bootstrap::run(bootstrap::Options::default())?;
    web::build()?;
    shell::run(shell::cargo().args(["build", "--quiet", "--package", "circuit-cli"]))?;
    let out = shell::target().join("page-bench.json");
    let mut node = Command::new("node");
    node.current_dir(web::folder()).args(["bench/run.mjs", "--out"]).arg(&out).args(graphs);
    node.env("CHROMIUM", chromium).env("CIRCUIT_TRACER_BIN", shell::target().join("debug/circuit-tracer"));
    shell::run(&mut node)?;
    let text = std::fs::read_to_string(&out).with_context(|| format!("cannot read {}", out.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not as expected", out.display()))
}

fn read(path: &Path) -> Result<Option<Committed>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {COMMITTED}"))?;
    serde_json::from_str(&text).map(Some).with_context(|| format!("{COMMITTED} is not as expected"))
}

/// The steps of a row, by name.
fn steps(row: &Row) -> [(&'static str, Option<&Measured>); 4] {
    [
        ("hover", Some(&row.hover)),
        ("hover, all links", Some(&row.hover_all_links)),
        ("select", Some(&row.select)),
        ("slide", row.slide.as_ref()),
    ]
}

fn table(now: &Committed, committed: Option<&Committed>) -> String {
    let mut text = String::from(
        "milliseconds for each step: median and 95th percentile from the event to the end of its frame;\n\
         processor time of the page and of the process that composes pictures; the committed median\n",
    );
    for row in &now.rows {
        let then = committed.and_then(|c| c.rows.iter().find(|other| other.graph == row.graph));
        let _ = writeln!(text, "\n{}: {} nodes, {} links are shown", row.graph, row.nodes, row.links);
        let _ = writeln!(
            text,
            "  {:18} {:>9}   {:>9}   {:>9}   {:>9}   {:>9}",
            "", "median", "p95", "page", "compose", "committed"
        );
        for (i, (name, measured)) in steps(row).into_iter().enumerate() {
            let Some(m) = measured else { continue };
            let _ = write!(
                text,
                "  {name:18} {:>9.1}   {:>9.1}   {:>9.1}   {:>9.1}",
                m.median, m.p95, m.page, m.compositor
            );
            if let Some(then) = then.and_then(|row| steps(row)[i].1) {
                let _ = write!(text, "   {:>9.1}", then.median);
            }
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "  first picture {:.0} ms after the download, longest task {:.0} ms, heap {:.0} MiB",
            row.shown, row.longest_task, row.heap
        );
    }
    let _ = writeln!(text, "\nnow: {}, {}", now.machine, now.browser);
    match committed {
        Some(then) => {
            let _ = writeln!(text, "committed: {}, {}", then.machine, then.browser);
            if then.machine != now.machine {
                text += "another machine: the figures compare machines, not changes\n";
            }
        }
        None => text += "nothing is committed yet: `cargo xtask bench --page --save` does\n",
    }
    text
}

/// One line for each figure that M30 asks for: whether the median keeps to the budget.
fn judgement(rows: &[Row]) -> String {
    let mut text = String::from("M30, by medians:");
    for (graph, first_picture) in JUDGED {
        let Some(row) = rows.iter().find(|row| row.graph == graph) else { continue };
        let medians = steps(row).map(|(name, measured)| (name, measured.map(|m| m.median)));
        let median =
            |wanted| medians.iter().find(|(name, _)| *name == wanted).and_then(|(_, median)| *median);
        let asked = BUDGET.map(|(name, budget)| (name, median(name), budget));
        for (name, found, budget) in
            asked.into_iter().chain([("first picture", Some(row.shown), first_picture)])
        {
            let Some(found) = found else { continue };
            let word = if found < budget { "met   " } else { "MISSED" };
            let _ = write!(text, "\n  {word}  {graph}, {name}: {found:.1} of {budget} ms");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(median: f64) -> Measured {
        Measured { median, p95: 9.0 * median, page: 1.0, compositor: 2.0 }
    }

    fn row(graph: &str, hover: f64) -> Row {
        Row {
            graph: graph.into(),
            nodes: 3,
            links: 4,
            shown: 300.0,
            hover: measured(hover),
            hover_all_links: measured(hover),
            select: measured(49.0),
            slide: None,
            longest_task: 0.0,
            heap: 5.0,
        }
    }

    #[test]
    fn medians_are_judged_and_percentiles_are_not() {
        let text = judgement(&[
            row("synthetic-2000-50000", 15.0),
            row("synthetic-5000-100000", 17.0),
            row("demo", 99.0),
        ]);
        let lines: Vec<_> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!(lines[0], "met     synthetic-2000-50000, hover: 15.0 of 16 ms");
        assert_eq!(lines[3], "MISSED  synthetic-5000-100000, hover: 17.0 of 16 ms");
        assert!(lines[4].starts_with("met") && lines[5].starts_with("met"), "{text}");
    }

    #[test]
    fn figures_stand_beside_the_committed_ones() {
        let table_of =
            |hover| Committed { machine: "a".into(), browser: "b".into(), rows: vec![row("demo", hover)] };
        let (now, then) = (table_of(2.0), table_of(4.0));
        let text = table(&now, Some(&then));
        let line = text.lines().find(|line| line.trim_start().starts_with("hover ")).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["hover", "2.0", "18.0", "1.0", "2.0", "4.0"]
        );
        assert!(!text.contains("another machine") && !text.contains("slide"), "{text}");
        assert!(table(&now, None).contains("--save"));
    }

    #[test]
    fn the_figures_of_the_bench_are_read() {
        let step = r#"{"median": 1, "p95": 2, "page": 3, "compositor": 4}"#;
        let text = format!(
            r#"{{"browser": "Chromium 1", "rows": [{{"graph": "demo", "nodes": 1, "links": 2, "shown": 3.5, "hover": {step},
            "hoverAllLinks": {step}, "select": {step}, "slide": null, "longestTask": 0, "heap": 6}}]}}"#
        );
        let found: Found = serde_json::from_str(&text).unwrap();
        assert!(found.rows[0].slide.is_none() && (found.rows[0].hover.median - 1.0).abs() < 1e-9);
    }
}
