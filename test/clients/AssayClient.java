import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Java's own HttpClient against a server: `java AssayClient.java URL MODE PHASE ARGUMENT`.
 * MODE is `default` (one attempt, everything as the JDK comes) or `advised` (the lines of the README).
 * PHASE: burst N | expect N | gaps S,S,… | steady SECONDS. The result is one line of JSON.
 */
public final class AssayClient {
    private static final Duration ATTEMPT = Duration.ofSeconds(2);
    private static final Duration RETRY_FOR = Duration.ofSeconds(40);

    private final URI uri;
    private final boolean advised;
    private final Map<String, Integer> errors = new TreeMap<>();
    private final AtomicInteger requests = new AtomicInteger();
    private final AtomicInteger answered = new AtomicInteger();
    private final AtomicInteger retries = new AtomicInteger();
    private final AtomicInteger replayed = new AtomicInteger();

    private AssayClient(String url, boolean advised) {
        this.uri = URI.create(url + "/v1/score");
        this.advised = advised;
    }

    public static void main(String[] args) throws Exception {
        boolean advised = args[1].equals("advised");
        if (advised) System.setProperty("jdk.httpclient.keepalive.timeout", "5");
        AssayClient client = new AssayClient(args[0], advised);
        switch (args[2]) {
            case "burst" -> client.burst(Integer.parseInt(args[3]), false);
            case "expect" -> client.burst(Integer.parseInt(args[3]), true);
            case "gaps" -> client.gaps(args[3].split(","));
            case "steady" -> client.steady(Integer.parseInt(args[3]));
            default -> throw new IllegalArgumentException(args[2]);
        }
        client.report(args[2]);
        System.exit(0);
    }

    private void burst(int count, boolean expect) throws Exception {
        HttpClient http = HttpClient.newHttpClient();
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int i = 0; i < count; i++) tasks.add(() -> score(http, expect));
        inParallel(8, tasks);
    }

    /** One client for each gap: a request, the pause, a request on what is left of the pool. */
    private void gaps(String[] seconds) throws Exception {
        List<Callable<Void>> tasks = new ArrayList<>();
        for (String gap : seconds) {
            tasks.add(() -> {
                HttpClient http = HttpClient.newHttpClient();
                score(http, false);
                Thread.sleep((long) (Double.parseDouble(gap) * 1000));
                return score(http, false);
            });
        }
        inParallel(seconds.length, tasks);
    }

    private void steady(int seconds) throws Exception {
        HttpClient http = HttpClient.newHttpClient();
        score(http, false);
        System.out.println("started");
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        List<Callable<Void>> tasks = new ArrayList<>();
        for (int worker = 0; worker < 4; worker++) {
            tasks.add(() -> {
                while (System.nanoTime() < end) {
                    score(http, false);
                    Thread.sleep(50);
                }
                return null;
            });
        }
        inParallel(4, tasks);
    }

    private static void inParallel(int threads, List<Callable<Void>> tasks) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        for (Future<Void> done : pool.invokeAll(tasks)) done.get();
        pool.shutdown();
    }

    private Void score(HttpClient http, boolean expect) throws InterruptedException {
        String id = "java-" + UUID.randomUUID();
        String body = "{\"transaction_id\":\"" + id + "\",\"occurred_at\":" + System.currentTimeMillis()
            + ",\"amount_minor\":4200,\"currency\":\"EUR\",\"customer_id\":\"852\",\"terminal_id\":\"5161\"}";
        HttpRequest request = HttpRequest.newBuilder(uri).timeout(ATTEMPT).expectContinue(expect)
            .header("Content-Type", "application/json").POST(HttpRequest.BodyPublishers.ofString(body)).build();
        requests.incrementAndGet();
        long giveUp = System.nanoTime() + RETRY_FOR.toNanos();
        for (;;) {
            String failure = attempt(http, request);
            if (failure == null) return null;
            if (!advised || System.nanoTime() > giveUp) {
                synchronized (errors) { errors.merge(failure, 1, Integer::sum); }
                return null;
            }
            retries.incrementAndGet();
            Thread.sleep(200);
        }
    }

    private String attempt(HttpClient http, HttpRequest request) throws InterruptedException {
        try {
            HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) return "status " + response.statusCode() + " " + codeOf(response.body());
            if (response.headers().firstValue("Idempotent-Replayed").isPresent()) replayed.incrementAndGet();
            answered.incrementAndGet();
            return null;
        } catch (IOException error) {
            return error.getClass().getSimpleName() + ": " + error.getMessage();
        }
    }

    private static String codeOf(String problem) {
        int at = problem.indexOf("ASSAY_");
        return at < 0 ? "" : problem.substring(at, problem.indexOf('"', at));
    }

    private void report(String phase) {
        StringBuilder list = new StringBuilder();
        errors.forEach((error, count) -> list.append(list.length() == 0 ? "" : ",")
            .append('"').append(error.replace("\\", "\\\\").replace("\"", "'")).append("\":").append(count));
        System.out.println("{\"phase\":\"" + phase + "\",\"requests\":" + requests + ",\"answered\":" + answered
            + ",\"retries\":" + retries + ",\"replayed\":" + replayed + ",\"errors\":{" + list + "}}");
    }
}
