//! `/openapi.json`: what every route takes and answers, written from the table that the router walks, the table of errors
//! and the limits. [`operations::describe`] has no default, so that a route without a description does not compile.

mod operations;
mod schemas;

use crate::http::routes::{ROUTES, Route};
use crate::http::{Body, reply};
use hyper::Response;
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, media};
use serde_json::{Map, Value as Json, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) fn handle(parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    Ok(reply::json(DOCUMENT.as_str()))
}

/// One method of one route.
struct Operation {
    summary: &'static str,
    parameters: Vec<Json>,
    body: Option<Json>,
    responses: Vec<(u16, Json)>,
    errors: Vec<u16>,
    /// Errors are lines of text instead of problems.
    plain_errors: bool,
}

/// Errors that any request may get: what it says is malformed or too much, who sends it may not, or the server cannot.
const ERRORS_EVERYWHERE: [u16; 7] = [400, 401, 403, 413, 500, 503, 507];

impl Operation {
    fn new(summary: &'static str) -> Operation {
        Operation {
            summary,
            parameters: Vec::new(),
            body: None,
            responses: Vec::new(),
            errors: ERRORS_EVERYWHERE.to_vec(),
            plain_errors: false,
        }
    }

    fn parameter(self, name: &str, schema: Json, description: &str) -> Operation {
        self.anywhere("query", name, schema, description)
    }

    fn header(self, name: &str, description: &str) -> Operation {
        self.anywhere("header", name, json!({"type": "string"}), description)
    }

    fn anywhere(mut self, place: &str, name: &str, schema: Json, description: &str) -> Operation {
        self.parameters
            .push(json!({ "name": name, "in": place, "schema": schema, "description": description }));
        self
    }

    fn parameters(mut self, more: &[fn(Operation) -> Operation]) -> Operation {
        for add in more {
            self = add(self);
        }
        self
    }

    /// The request's body: a media type and schema each.
    fn body(mut self, required: bool, content: &[(&str, Json)]) -> Operation {
        self.body = Some(json!({ "required": required, "content": contents(content) }));
        self.errors.extend([408, 415]);
        self
    }

    fn reply(mut self, status: u16, description: &str, content: &[(&str, Json)]) -> Operation {
        let mut response = json!({ "description": description });
        if !content.is_empty() {
            response["content"] = contents(content);
        }
        self.responses.push((status, response));
        self
    }

    fn errors(mut self, statuses: &[u16]) -> Operation {
        self.errors.extend_from_slice(statuses);
        self
    }

    fn into_json(mut self, route: &Route, method: &str) -> Json {
        if let Some((_, rest)) = route.template.split_once('{') {
            let name = rest.split_once('}').map_or("", |(name, _)| name);
            let description = match name {
                "key" => "parts of the key, percent-encoded, with / between them",
                _ => "the name, percent-encoded",
            };
            let schema = json!({"type": "string", "minLength": 1});
            self.parameters.push(
                json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description }),
            );
        }
        let mut responses = Map::new();
        for (status, mut response) in self.responses {
            if method == "HEAD"
                && let Some(response) = response.as_object_mut()
            {
                response.remove("content");
            }
            responses.insert(status.to_string(), response);
        }
        self.errors.sort_unstable();
        self.errors.dedup();
        for status in self.errors {
            let response = match (method, self.plain_errors) {
                ("HEAD", _) => json!({ "description": codes(status) }),
                (_, true) => {
                    let text = json!({"schema": {"type": "string"}});
                    json!({ "description": codes(status), "content": { "text/plain": text, media::PROBLEM: problem() } })
                }
                (_, false) => json!({ "$ref": format!("#/components/responses/{status}") }),
            };
            responses.insert(status.to_string(), response);
        }
        let mut operation = json!({ "summary": self.summary, "responses": responses });
        if !self.parameters.is_empty() {
            operation["parameters"] = Json::from(self.parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

fn contents(content: &[(&str, Json)]) -> Json {
    let contents = content.iter().map(|(media_type, schema)| {
        // Parameters of a media type are no part of its name here.
        let media_type = media_type.split(';').next().unwrap_or_default();
        (media_type.to_owned(), json!({ "schema": schema }))
    });
    Json::Object(contents.collect())
}

fn problem() -> Json {
    json!({ "schema": { "$ref": "#/components/schemas/Problem" } })
}

/// The codes of a status, from the one table of errors.
fn codes(status: u16) -> String {
    let codes: Vec<&str> =
        Kind::ALL.into_iter().filter(|kind| kind.status() == status).map(Kind::code).collect();
    codes.join(", ")
}

fn document() -> Json {
    let mut paths = Map::new();
    for route in ROUTES {
        let mut methods = Map::new();
        for method in route.methods {
            let operation = operations::describe(route, method).into_json(route, method);
            methods.insert(method.to_ascii_lowercase(), operation);
        }
        paths.insert(route.template.to_owned(), Json::Object(methods));
    }
    let statuses: std::collections::BTreeSet<u16> = Kind::ALL.into_iter().map(Kind::status).collect();
    let responses = statuses.into_iter().map(|status| {
        let response = json!({ "description": codes(status), "content": { media::PROBLEM: problem() } });
        (status.to_string(), response)
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OrchardDB",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "An ordered, transactional key-value database. docs/http.md says what each part means.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "responses": Json::Object(responses.collect()),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` below `json`.
    fn references(json: &Json, found: &mut Vec<String>) {
        match json {
            Json::Object(members) => {
                if let Some(Json::String(reference)) = members.get("$ref") {
                    found.push(reference.clone());
                }
                members.values().for_each(|member| references(member, found));
            }
            Json::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let mut routes = Vec::new();
        for route in ROUTES {
            for method in route.methods {
                let operation = &paths[route.template][method.to_ascii_lowercase()];
                assert!(
                    operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                    "{}",
                    route.template
                );
                let responses = operation["responses"].as_object().expect("responses");
                assert!(
                    responses.keys().any(|status| status.starts_with('2')),
                    "{method} {}",
                    route.template
                );
                assert!(responses.contains_key("400"), "{method} {}", route.template);
                routes.push((route.template.to_owned(), method.to_ascii_lowercase()));
            }
        }
        let documented = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (path.clone(), method.clone()))
        });
        let mut documented: Vec<(String, String)> = documented.collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
