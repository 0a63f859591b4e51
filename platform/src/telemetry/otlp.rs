//! Spans to a collector: OTLP over gRPC or HTTP, in batches, from a thread of their own.
//!
//! What does not fit the queue is dropped: a collector that is slow or away never slows a request.

use super::trace::{FORCED, TARGET};
use super::{BoxedLayer, TelemetryError};
use crate::config::{Otlp, OtlpProtocol};
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingResult, SdkTracerProvider, ShouldSample, SpanData,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

/// How long one delivery may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// How many spans may wait; more are dropped.
const QUEUE_SPANS: usize = 8_192;
const BATCH_SPANS: usize = 512;

pub(super) fn provider(collector: &Otlp, role: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let builder = SpanExporter::builder();
    let exporter = match collector.protocol {
        OtlpProtocol::Grpc => {
            let builder = builder.with_tonic().with_endpoint(&collector.endpoint).with_timeout(EXPORT_TIMEOUT);
            if collector.endpoint.starts_with("https://") {
                builder.with_tls_config(ClientTlsConfig::new().with_native_roots()).build()?
            } else {
                builder.build()?
            }
        }
        OtlpProtocol::Http => builder
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.endpoint))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS)
        .with_max_export_batch_size(BATCH_SPANS)
        .with_scheduled_delay(GATHER)
        .build();
    let exporter = Told { exporter, failing: AtomicBool::new(false) };
    let resource = Resource::builder()
        .with_service_name(format!("daybook-{role}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_sampler(Share(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(collector.sample_ratio)))))
        .with_resource(resource)
        .build())
}

/// What turns our spans, and no library's, into those of the collector.
pub(super) fn layer(provider: &SdkTracerProvider) -> BoxedLayer {
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("daybook"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
        .boxed()
}

/// The configured share of traces, and what is forced.
#[derive(Clone, Debug)]
struct Share(Sampler);

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let forced = KeyValue::new(FORCED, true);
        let is_root = !parent_context.is_some_and(TraceContextExt::has_active_span);
        let sampler = if is_root && attributes.contains(&forced) { &Sampler::AlwaysOn } else { &self.0 };
        sampler.should_sample(parent_context, trace_id, name, span_kind, attributes, links)
    }
}

/// An exporter that says once when the collector goes away, and once when it is back.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        match self.exporter.export(batch).await {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, spans, "the collector does not take spans; they are dropped until it does");
                }
            }
        }
        // Told above; the processor would tell it again each second.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::{FORCED, Share};
    use opentelemetry::KeyValue;
    use opentelemetry::trace::{SpanKind, TraceId};
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};

    #[test]
    fn a_forced_root_is_recorded_whatever_the_share() {
        let share = Share(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.0))));
        let decide = |attributes: &[KeyValue]| {
            share.should_sample(None, TraceId::from(7), "x", &SpanKind::Internal, attributes, &[]).decision
        };
        assert_eq!(decide(&[]), SamplingDecision::Drop);
        assert_eq!(decide(&[KeyValue::new(FORCED, true)]), SamplingDecision::RecordAndSample);
    }
}
