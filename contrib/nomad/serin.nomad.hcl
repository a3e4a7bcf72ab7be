# serin as a Nomad job, one daemon on one client whose directory it keeps. The image is what `scripts/package container`
# makes; a token lies in Nomad's variable nomad/jobs/serin under `token`:
#
#   nomad var put nomad/jobs/serin token="$(openssl rand -hex 24)"
#   nomad job run contrib/nomad/serin.nomad.hcl
#
# serin is one node: `count` stays 1, and the store on a host volume called `serin`, which belongs to user 65532.
job "serin" {
  type = "service"

  group "serin" {
    count = 1

    # Two daemons must never have one store: the old one ends before the new one begins.
    update {
      max_parallel     = 1
      health_check     = "checks"
      min_healthy_time = "10s"
      healthy_deadline = "6m"
      auto_revert      = true
    }

    volume "serin" {
      type   = "host"
      source = "serin"
    }

    network {
      port "api" { static = 7411 }
      port "router" { static = 7412 }
    }

    task "serin" {
      driver = "docker"
      user   = "65532"

      config {
        image           = "serin"
        ports           = ["api", "router"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        volumes         = ["local/plans:/etc/serin/plans:ro"]
      }

      volume_mount {
        volume      = "serin"
        destination = "/var/lib/serin"
      }

      # Longer than SERIN_DRAIN (30s), in which requests under way may end; Nomad's client allows 30s unless told more
      # by max_kill_timeout.
      kill_timeout = "45s"

      template {
        destination = "secrets/serin.env"
        env         = true
        data        = <<EOT
SERIN_TOKEN={{ with nomadVar "nomad/jobs/serin" }}{{ .token }}{{ end }}
EOT
      }

      template {
        destination = "local/plans/checkout.yaml"
        data        = <<EOT
function: checkout
alias: live
steps: [3%, 5%, 100%]
EOT
      }

      resources {
        cpu    = 1000
        memory = 512
      }

      service {
        name     = "serin-router"
        port     = "router"
        provider = "nomad"
      }

      service {
        name     = "serin-api"
        port     = "api"
        provider = "nomad"

        # Only a restart helps where this fails; a daemon that is not ready still carries traffic.
        check {
          type     = "http"
          path     = "/livez"
          interval = "15s"
          timeout  = "5s"

          check_restart {
            limit = 3
            grace = "5m"
          }
        }
      }
    }
  }
}
