# The same as docs/deploy/kubernetes/roundcube/backup.yaml, verify.yaml and network.yaml, which say why it is so.

locals {
  # Several sources may be folders of one claim, which is then one volume of the pod.
  claims = toset([for source in var.sources : source.claim])

  environment = {
    WEEKVAULT_STORE       = "/backup"
    WEEKVAULT_PUSHGATEWAY = var.pushgateway
    WEEKVAULT_JOB         = coalesce(var.job, "${var.name}-backup")
    TZ                    = var.time_zone
  }

  # As kubernetes/sealed/backup.yaml has it: the backup alone gets a key, and it reads nothing.
  writer = var.writer_secret_name == null ? {} : { WEEKVAULT_WRITER_KEY = "/keys/writer.key" }
}

resource "kubernetes_cron_job_v1" "backup" {
  metadata {
    name      = "${var.name}-backup"
    namespace = var.namespace
    labels    = { app = "${var.name}-backup" }
  }

  spec {
    schedule                      = var.schedule
    timezone                      = var.time_zone
    concurrency_policy            = "Forbid"
    starting_deadline_seconds     = 21600
    successful_jobs_history_limit = 7
    failed_jobs_history_limit     = 7

    job_template {
      metadata {
        labels = { app = "${var.name}-backup" }
      }

      spec {
        backoff_limit              = 2
        active_deadline_seconds    = 14400
        ttl_seconds_after_finished = 604800

        pod_failure_policy {
          rule {
            action = "Ignore"
            on_pod_condition {
              type   = "DisruptionTarget"
              status = "True"
            }
          }
          # 2: wrong usage. 3: published, some files could not be read. Neither gets better by a second run.
          rule {
            action = "FailJob"
            on_exit_codes {
              container_name = "backup"
              operator       = "In"
              values         = [2, 3]
            }
          }
        }

        template {
          metadata {
            labels = { app = "${var.name}-backup" }
          }

          spec {
            restart_policy                   = "Never"
            termination_grace_period_seconds = 60
            automount_service_account_token  = false
            enable_service_links             = false

            # ReadWriteOnce: only the node of the pod that has the volumes can mount them.
            dynamic "affinity" {
              for_each = length(var.affinity_labels) > 0 ? [1] : []
              content {
                pod_affinity {
                  required_during_scheduling_ignored_during_execution {
                    label_selector {
                      match_labels = var.affinity_labels
                    }
                    topology_key = "kubernetes.io/hostname"
                  }
                }
              }
            }

            dns_config {
              option {
                name  = "ndots"
                value = "2"
              }
            }

            security_context {
              seccomp_profile {
                type = "RuntimeDefault"
              }
            }

            container {
              name  = "backup"
              image = var.image
              args = concat(
                # kubernetes/roundcube/init.yaml has made the store.
                ["backup", "--existing"],
                [for name, source in var.sources : "--source=${name}=${source.mount_path}"],
                ["--keep=${var.keep}"],
              )

              dynamic "env" {
                for_each = merge(local.environment, local.writer)
                content {
                  name  = env.key
                  value = env.value
                }
              }

              resources {
                requests = { cpu = "100m", memory = "64Mi" }
                limits   = { memory = var.memory_limit }
              }

              security_context {
                run_as_user                = 0
                run_as_group               = 0
                allow_privilege_escalation = false
                read_only_root_filesystem  = true
                capabilities {
                  drop = ["ALL"]
                  add  = ["DAC_READ_SEARCH"]
                }
              }

              dynamic "volume_mount" {
                for_each = var.sources
                content {
                  name       = "source-${index(sort(local.claims), volume_mount.value.claim)}"
                  mount_path = volume_mount.value.mount_path
                  sub_path   = volume_mount.value.sub_path
                  read_only  = true
                }
              }

              volume_mount {
                name       = "backup"
                mount_path = "/backup"
              }

              dynamic "volume_mount" {
                for_each = local.writer
                content {
                  name       = "writer"
                  mount_path = "/keys"
                  read_only  = true
                }
              }
            }

            dynamic "volume" {
              for_each = sort(local.claims)
              content {
                name = "source-${volume.key}"
                persistent_volume_claim {
                  claim_name = volume.value
                }
              }
            }

            volume {
              name = "backup"
              persistent_volume_claim {
                claim_name = var.store_claim
              }
            }

            dynamic "volume" {
              for_each = local.writer
              content {
                name = "writer"
                secret {
                  secret_name  = var.writer_secret_name
                  default_mode = "0400"
                  items {
                    key  = "writer.key"
                    path = "writer.key"
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    # KYVERNO_LIFECYCLE_V1: a Kyverno policy sets ndots on admission; a plan must not take it back.
    ignore_changes = [spec[0].job_template[0].spec[0].template[0].spec[0].dns_config]
  }
}

resource "kubernetes_cron_job_v1" "verify" {
  metadata {
    name      = "${var.name}-verify"
    namespace = var.namespace
    labels    = { app = "${var.name}-verify" }
  }

  spec {
    schedule                      = var.verify_schedule
    timezone                      = var.time_zone
    concurrency_policy            = "Forbid"
    starting_deadline_seconds     = 21600
    successful_jobs_history_limit = 3
    failed_jobs_history_limit     = 5

    job_template {
      metadata {
        labels = { app = "${var.name}-verify" }
      }

      spec {
        backoff_limit              = 2
        active_deadline_seconds    = 28800
        ttl_seconds_after_finished = 604800

        pod_failure_policy {
          rule {
            action = "Ignore"
            on_pod_condition {
              type   = "DisruptionTarget"
              status = "True"
            }
          }
          # 2: wrong usage. 4: something is damaged; reading it all again mends nothing.
          rule {
            action = "FailJob"
            on_exit_codes {
              container_name = "verify"
              operator       = "In"
              values         = [2, 4]
            }
          }
        }

        template {
          metadata {
            labels = { app = "${var.name}-verify" }
          }

          spec {
            restart_policy                   = "Never"
            termination_grace_period_seconds = 60
            automount_service_account_token  = false
            enable_service_links             = false

            dns_config {
              option {
                name  = "ndots"
                value = "2"
              }
            }

            security_context {
              seccomp_profile {
                type = "RuntimeDefault"
              }
            }

            container {
              name  = "verify"
              image = var.image
              args  = ["verify"]

              dynamic "env" {
                for_each = local.environment
                content {
                  name  = env.key
                  value = env.value
                }
              }

              resources {
                requests = { cpu = "100m", memory = "64Mi" }
                limits   = { memory = var.memory_limit }
              }

              security_context {
                run_as_user                = 0
                run_as_group               = 0
                allow_privilege_escalation = false
                read_only_root_filesystem  = true
                capabilities {
                  drop = ["ALL"]
                }
              }

              volume_mount {
                name       = "backup"
                mount_path = "/backup"
                read_only  = true
              }
            }

            volume {
              name = "backup"
              persistent_volume_claim {
                claim_name = var.store_claim
              }
            }
          }
        }
      }
    }
  }

  lifecycle {
    # KYVERNO_LIFECYCLE_V1: a Kyverno policy sets ndots on admission; a plan must not take it back.
    ignore_changes = [spec[0].job_template[0].spec[0].template[0].spec[0].dns_config]
  }
}

resource "kubernetes_network_policy_v1" "backup" {
  metadata {
    name      = "${var.name}-backup"
    namespace = var.namespace
  }

  spec {
    pod_selector {
      match_expressions {
        key      = "app"
        operator = "In"
        values = [
          for task in ["backup", "verify", "init", "restore", "materialize", "command"] : "${var.name}-${task}"
        ]
      }
    }
    policy_types = ["Ingress", "Egress"]

    egress {
      ports {
        protocol = "UDP"
        port     = "53"
      }
      ports {
        protocol = "TCP"
        port     = "53"
      }
    }

    egress {
      to {
        namespace_selector {
          match_labels = { "kubernetes.io/metadata.name" = var.pushgateway_namespace }
        }
      }
      ports {
        protocol = "TCP"
        port     = var.pushgateway_port
      }
    }
  }
}
