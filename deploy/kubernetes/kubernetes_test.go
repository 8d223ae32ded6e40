// Package kubernetes tests inturn.yaml against the types of Kubernetes' own API, in a module of
// its own: the product has none of it.
package kubernetes

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// decode reads the one object of a kind; unknown and doubled fields are errors.
func decode(t *testing.T, kind string, object any) {
	t.Helper()
	text, err := os.ReadFile("inturn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if strings.Contains(document, "\nkind: "+kind+"\n") {
			found++
			if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
	if found != 1 {
		t.Fatalf("inturn.yaml has %d objects of kind %s", found, kind)
	}
}

func TestService(t *testing.T) {
	var service corev1.Service
	var set appsv1.StatefulSet
	decode(t, "Service", &service)
	decode(t, "StatefulSet", &set)
	if set.Spec.ServiceName != service.Name {
		t.Errorf("the pods' service is %q, there is %q", set.Spec.ServiceName, service.Name)
	}
	for name, value := range service.Spec.Selector {
		if set.Spec.Template.Labels[name] != value {
			t.Errorf("the service selects %s=%s, which no pod has", name, value)
		}
	}
	if port := service.Spec.Ports[0].TargetPort.StrVal; portOf(set, port) == 0 {
		t.Errorf("the service leads to the port %q, which no container has", port)
	}
}

func portOf(set appsv1.StatefulSet, name string) int32 {
	for _, p := range set.Spec.Template.Spec.Containers[0].Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// The pod is one, ends in its time, writes only to its volumes, and agrees with the image.
func TestStatefulSet(t *testing.T) {
	var set appsv1.StatefulSet
	decode(t, "StatefulSet", &set)
	pod := set.Spec.Template.Spec
	c := pod.Containers[0]
	if set.Spec.Replicas == nil || *set.Spec.Replicas != 1 {
		t.Error("more than one pod would be more than one file")
	}
	for name, value := range set.Spec.Selector.MatchLabels {
		if set.Spec.Template.Labels[name] != value {
			t.Errorf("the set selects %s=%s, which its pods don't have", name, value)
		}
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	drain, err := time.ParseDuration(env["INTURN_DRAIN"])
	if err != nil || pod.TerminationGracePeriodSeconds == nil || time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second < drain+25*time.Second {
		t.Errorf("the pod is killed before --drain %v and the watchdog have ended (%v)", drain, err)
	}
	if user := *pod.SecurityContext.RunAsUser; user != 65532 || *pod.SecurityContext.FSGroup != user || !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem {
		t.Error("the pod's user is not the image's, or it may write elsewhere")
	}
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"USER 65532:65532", `VOLUME ["/data"]`, "EXPOSE 8443"} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want) + `$`).Match(text) {
			t.Errorf("the Dockerfile has no %s", want)
		}
	}
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m.Name
	}
	if claims := set.Spec.VolumeClaimTemplates; len(claims) != 1 || mounts["/data"] != claims[0].Name || mounts["/tmp"] == "" {
		t.Errorf("mounted are %v", mounts)
	}
	if portOf(set, "https") != 8443 || !strings.HasSuffix(env["INTURN_ADMIN"], ":9091") || portOf(set, "admin") != 9091 {
		t.Error("a port is not the program's")
	}
	for what, probe := range map[string]*corev1.Probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != what || probe.HTTPGet.Port.StrVal != "admin" {
			t.Errorf("no probe asks the admin address for %s", what)
		}
	}
}
