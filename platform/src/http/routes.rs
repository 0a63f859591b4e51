//! The way in which a route is registered: with the permission that it needs, or said to be public.
//!
//! Invariant: a route of an API cannot be registered without saying who may use it, and what is said
//! is both what is checked and what the OpenAPI document names.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures::future::{Either, ok};
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::measure;
use crate::auth::{Identity, Permission, Principal, Refusal};

/// Name of the security scheme in OpenAPI documents.
const SCHEME: &str = "bearer";

/// Routes with their description, each with the permission that it needs.
pub struct Routes<S>(OpenApiRouter<S>);

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    pub fn new() -> Self {
        Self(OpenApiRouter::new())
    }

    /// One more route, `utoipa_axum::routes!(handler)`, for callers who have the permission. Others
    /// are refused before the handler sees anything of the request: 401, or 403
    /// `permission_missing`.
    #[must_use]
    pub fn route(self, permission: Permission, methods: UtoipaMethodRouter<S>) -> Self {
        self.route_any(&[permission], methods)
    }

    /// The same for callers who have one of the permissions; which of them is needed for what the
    /// body asks for, the handler checks. Who has none is told of the first.
    #[must_use]
    pub fn route_any(self, permissions: &[Permission], (schemas, mut paths, methods): UtoipaMethodRouter<S>) -> Self {
        let requirement = |permission: &Permission| SecurityRequirement::new(SCHEME, [permission.name()]);
        require(&mut paths, &permissions.iter().map(requirement).collect::<Vec<_>>());
        let permissions: Arc<[Permission]> = permissions.into();
        let methods = methods.route_layer(layer_fn(move |route| gated(route, Arc::clone(&permissions))));
        Self(self.0.routes((schemas, paths, methods)))
    }

    /// One more route that anybody may use; what it needs to know of its caller it checks itself.
    #[must_use]
    pub fn public(self, (schemas, mut paths, methods): UtoipaMethodRouter<S>) -> Self {
        require(&mut paths, &[]);
        Self(self.0.routes((schemas, paths, methods)))
    }

    /// These routes and the others.
    #[must_use]
    pub fn merge(self, others: Self) -> Self {
        Self(self.0.merge(others.0))
    }

    /// The routes, to be served.
    pub fn into_router(self, state: S) -> Router {
        let (router, _) = self.0.with_state(state).split_for_parts();
        router
    }

    /// Their description, the security scheme included.
    pub fn into_openapi(self) -> OpenApi {
        let mut api = self.0.into_openapi();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A JWT of the institution's issuer; `daybook token` mints one in development."))
            .build();
        api.components
            .get_or_insert_default()
            .security_schemes
            .insert(SCHEME.to_owned(), SecurityScheme::Http(bearer).into());
        api
    }
}

fn require(paths: &mut Paths, requirements: &[SecurityRequirement]) {
    for operation in paths.paths.values_mut().flat_map(operations) {
        operation.security = Some(requirements.to_vec());
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
    methods.into_iter().flatten()
}

/// The route, for requests whose caller has one of the permissions; it decides at once, so it has no future of its own.
fn gated(
    mut route: Route,
    permissions: Arc<[Permission]>,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync {
    service_fn(move |request: Request| match check(&request, &permissions) {
        Ok(()) => Either::Left(route.call(request)),
        Err(refusal) => {
            measure::refused(refusal.code());
            Either::Right(ok(refusal.into_response()))
        }
    })
}

fn check(request: &Request, permissions: &[Permission]) -> Result<(), Refusal> {
    match request.extensions().get::<Identity>() {
        Some(Identity(Ok(principal))) => check_any(principal, permissions),
        Some(Identity(Err(refusal))) => Err(*refusal),
        None => Err(Refusal::TokenMissing),
    }
}

fn check_any(principal: &Principal, permissions: &[Permission]) -> Result<(), Refusal> {
    // A route without a permission is nobody's.
    let mut checked = Err(Refusal::TokenMissing);
    for (at, permission) in permissions.iter().enumerate() {
        match principal.check(*permission) {
            Ok(()) => return Ok(()),
            refused if at == 0 => checked = refused,
            Err(_) => {}
        }
    }
    checked
}
