# Lets an Envoy configuration write its access log to a file: sed -f audit/access-log.sed envoy.yaml > audit/envoy.yaml
s/envoy\.access_loggers\.stdout/envoy.access_loggers.file/
s|\( *\)"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog|\1"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\
\1path: /var/log/envoy/access.log|
