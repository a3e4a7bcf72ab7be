//! The plans directory, good files and bad ones.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::error::ApiError;
use super::extract::Path;
use super::rollouts::fault_line;
use super::status::step_text;
use super::wire::{ErrorBody, PlanList, PlanView};
use serin_core::model::time::human;
use serin_core::plan::{Start, resolved_yaml};
use serin_core::world::plans::{PlanBook, PlanFile};

fn view(file: &PlanFile, whole: bool) -> PlanView {
    let state = match (file.is_sound(), file.is_defaults, &file.read) {
        (false, _, _) => "faulty",
        (true, true, _) => "defaults",
        (true, false, Some(read)) if !read.warnings.is_empty() => "warnings",
        _ => "ok",
    };
    let plan = file.read.as_ref().map(|read| &read.plan);
    let warnings = file.read.iter().filter(|_| file.is_sound()).flat_map(|read| &read.warnings);
    let faults: Vec<String> =
        file.problem.iter().cloned().chain(file.faults.iter().chain(warnings).map(fault_line)).collect();
    PlanView {
        name: file.name.clone(),
        file: file.source.name.clone(),
        state: state.to_owned(),
        target: plan.map(|plan| plan.target.to_string()),
        steps: plan
            .map(|plan| (1..=plan.steps.len()).map(|index| step_text(plan, index)).collect())
            .unwrap_or_default(),
        start: plan.map(|plan| start_text(&plan.start)),
        digest: file.read.as_ref().map(|read| read.pinned.digest.clone()),
        stale: file.read.is_some() && !file.is_sound(),
        faults,
        rendered: None,
        resolved: plan.filter(|_| whole).map(|plan| resolved_yaml(plan)),
    }
}

fn start_text(start: &Start) -> String {
    match start {
        Start::Manual => "manual".to_owned(),
        Start::OnPublish => "onPublish".to_owned(),
        Start::Cron(schedule) => format!("cron {}", schedule.text()),
        Start::After { target, span } => format!("after {target} for {}", human(*span)),
    }
}

fn file<'a>(book: &'a PlanBook, name: &str) -> Result<&'a PlanFile, ApiError> {
    book.files.get(name).ok_or_else(|| {
        let place = book.directory.as_ref().map_or_else(
            || "this serin has no plans directory (--plans)".to_owned(),
            |directory| format!("there is no such file in {directory}"),
        );
        ApiError::not_found(format!("no plan {name:?}: {place}"))
    })
}

/// The files of the plans directory.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", responses((status = 200, body = PlanList)))]
pub async fn list(State(api): State<Api>) -> Json<PlanList> {
    let book = api.control.book();
    Json(PlanList {
        directory: book.directory.clone(),
        problem: book.problem.clone(),
        plans: book.files.values().map(|file| view(file, false)).collect(),
    })
}

/// One file of the plans directory, with every default filled in.
#[utoipa::path(get, path = "/v1/plans/{name}", tag = "plans", params(("name" = String, Path)),
    responses((status = 200, body = PlanView), (status = 404, body = ErrorBody)))]
pub async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<PlanView>, ApiError> {
    let book = api.control.book();
    Ok(Json(view(file(&book, &name)?, true)))
}
