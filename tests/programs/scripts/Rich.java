import java.io.*;
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import java.util.zip.*;

/** Collections, direct buffers (malloc), threads, zlib, processes. */
public class Rich {
    static long work(int n) {
        Map<String, List<Integer>> m = new TreeMap<>();
        for (int i = 0; i < n; i++) m.computeIfAbsent("k" + i % 97, k -> new ArrayList<>()).add(i);
        return m.values().stream().mapToLong(l -> l.stream().mapToInt(x -> x).sum()).sum();
    }

    public static void main(String[] args) throws Exception {
        System.out.println(work(100000));
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> jobs = new ArrayList<>();
        for (int i = 0; i < 16; i++) { int n = 1000 * i; jobs.add(pool.submit(() -> work(n))); }
        for (Future<Long> f : jobs) System.out.print(f.get() + " ");
        pool.shutdown();
        System.out.println(pool.awaitTermination(100, TimeUnit.SECONDS));
        long sum = 0;
        for (int i = 1; i < 300; i++) {
            ByteBuffer b = ByteBuffer.allocateDirect(i * 1000);
            for (int j = 0; j < b.capacity(); j += 100) b.put(j, (byte) i);
            for (int j = 0; j < b.capacity(); j++) sum += b.get(j);
        }
        System.out.println(sum);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(bytes)) {
            for (int i = 0; i < 100000; i++) out.write(("line " + i + "\n").getBytes());
        }
        try (BufferedReader r = new BufferedReader(new InputStreamReader(new GZIPInputStream(new ByteArrayInputStream(bytes.toByteArray()))))) {
            System.out.println(r.lines().mapToInt(String::length).sum());
        }
        for (int i = 0; i < 5; i++) {
            Process p = new ProcessBuilder("sh", "-c", "echo child " + i + "; exit " + i).redirectErrorStream(true).start();
            System.out.print(new String(p.getInputStream().readAllBytes()));
            System.out.println(p.waitFor());
        }
        List<Thread> threads = IntStream.range(0, 200).mapToObj(i -> new Thread(() -> work(i))).collect(Collectors.toList());
        threads.forEach(Thread::start);
        for (Thread t : threads) t.join();
        System.gc();
        System.out.println(String.format("%.6f %s", Math.sqrt(2), new Random(1).ints(5, 0, 100).boxed().collect(Collectors.toList())));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
    }
}
